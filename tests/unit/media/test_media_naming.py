"""File names by a template."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.errors import ArgumentError
from falq.media.naming import NameTemplate

VALUES = {
    "id": "row-7",
    "index": 2,
    "endpoint": "fal-ai/flux/schnell",
    "seed": 42,
    "json_path": "images[2].url",
}


def fill(text: str, *, hint: str = "a cat.png", content_type: str | None = None, **values):
    return NameTemplate.parse(text).fill(VALUES | values, hint=hint, content_type=content_type)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("{name}.{ext}", ("a cat.png",)),
        ("{id}-{index}.{ext}", ("row-7-2.png",)),
        ("{id}-{index:04}", ("row-7-0002.png",)),
        ("{endpoint}/{seed}/{name}", ("fal-ai_flux_schnell", "42", "a cat.png")),
        ("{json_path}", ("images[2].url.png",)),
        ("{{{id}}}.{ext}", ("{row-7}.png",)),
        ("{request_id}", ("none.png",)),
        ("con/{id}", ("_con", "row-7.png")),
    ],
)
def test_a_template_names_folders_and_file(text, parts):
    assert fill(text) == parts


def test_a_value_makes_no_folder():
    assert fill("{id}/{index}", id="../../etc/passwd") == ("_.._etc_passwd", "2.png")
    assert fill("{id}", id="C:\\boot") == ("C__boot.png",)


def test_the_type_gives_the_extension_that_the_name_lacks():
    assert fill("{id}", hint="7", content_type="video/mp4") == ("row-7.mp4",)
    assert fill("{id}", hint="7") == ("row-7",)


@pytest.mark.parametrize(
    "text",
    [
        *("", "/{id}", "{id}/", "a//b", "a/" * 9 + "b", "../{id}", "./{id}", "a/../{id}", ".."),
        *("{", "}", "{id", "{}", "{0}", "{nonsense}", "{id.__class__}", "{id!r}", "{id:>9}"),
    ],
)
def test_any_other_template_is_refused(text):
    with pytest.raises(ArgumentError) as caught:
        NameTemplate.parse(text)
    assert caught.value.argument == "name_template"


def test_the_caller_may_add_names():
    template = NameTemplate.parse("{animal}", more_fields=["animal"])
    assert template.fill({"animal": "cat"}, hint="x.png", content_type=None) == ("cat.png",)


@given(st.text(), st.text(), st.text(), st.text())
def test_each_part_is_one_plain_name(row, endpoint, seed, hint):
    values = {"id": row, "endpoint": endpoint, "seed": seed}
    template = NameTemplate.parse("{endpoint}/{id}/{seed}-{name}.{ext}")
    parts = template.fill(values, hint=hint, content_type="image/png")
    assert len(parts) == 3
    for part in parts:
        assert part not in {"", ".", ".."}
        assert not set(part) & set('/\\:*?"<>|\0')
        assert part.isprintable()
        assert part[0] not in ".-~"
        assert len(part.encode()) <= 255
