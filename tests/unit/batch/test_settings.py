from __future__ import annotations

import pytest

from falq.batch.keys import without
from falq.batch.problems import BadFieldError
from falq.batch.settings import Setting
from falq.errors import ArgumentError

ROW = {"animal": "cat", "size": {"width": 512}}

APPLIED = [
    ("prompt=a {animal}", {"prompt": "a cat"}),
    ("prompt=a=b:=c", {"prompt": "a=b:=c"}),
    ("prompt=", {"prompt": ""}),
    ("animal=big {animal}", {"animal": "big cat"}),
    ("n:=4", {"n": 4}),
    ('loras:=[{"path": "{animal}"}]', {"loras": [{"path": "{animal}"}]}),
    ("size.height:=256", {"size": {"width": 512, "height": 256}}),
    (r"a\.b=x", {"a.b": "x"}),
    ("image_url@={animal}.png", {"image_url@": "cat.png"}),
]


@pytest.mark.parametrize(("word", "added"), APPLIED)
def test_a_setting_is_applied_to_a_copy_of_the_arguments(word, added):
    before = {"animal": "cat", "size": {"width": 512}}
    assert Setting.parse(word).apply(before) == ROW | added
    assert before == ROW


@pytest.mark.parametrize("word", ["prompt", "=x", "n:=", "n:={x}", "a..b=1", "prompt={"])
def test_a_setting_that_cannot_be_read_is_refused(word):
    with pytest.raises(ArgumentError, match="set") as caught:
        Setting.parse(word)
    assert caught.value.argument == "set"


def test_a_key_inside_a_value_that_is_no_object_is_named():
    with pytest.raises(BadFieldError) as caught:
        Setting.parse("animal.kind=x").apply(ROW)
    assert caught.value.field == "animal"


@pytest.mark.parametrize(
    ("path", "left"),
    [
        (("animal",), {"size": {"width": 512}}),
        (("size", "width"), {"animal": "cat", "size": {}}),
        (("other",), ROW),
        (("animal", "kind"), ROW),
    ],
)
def test_what_is_dropped_is_missing_from_a_copy(path, left):
    assert without(ROW, path) == left
