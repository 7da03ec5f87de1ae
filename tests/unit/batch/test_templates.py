from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from falq.batch.problems import BadFieldError
from falq.batch.templates import Template
from falq.errors import ArgumentError

VALUES = {
    "animal": "cat",
    "n": 3,
    "weight": 0.5,
    "is_big": True,
    "size": {"width": 512},
    "a.b": "dotted",
    "none": None,
    "list": [1],
}

FILLED = [
    ("plain", "plain"),
    ("", ""),
    ("a {animal}", "a cat"),
    ("{animal}{animal}", "catcat"),
    ("{n} of {weight}, {is_big}", "3 of 0.5, true"),
    ("{size.width} px", "512 px"),
    ("{a.b}", "dotted"),
    ("{{animal}}", "{animal}"),
    ("{{{animal}}}", "{cat}"),
    ("}}{{", "}{"),
]


@pytest.mark.parametrize(("text", "filled"), FILLED)
def test_names_are_replaced_by_values_and_doubled_braces_by_single_ones(text, filled):
    assert Template.parse(text, what="set").fill(VALUES) == filled


@pytest.mark.parametrize("text", ["{", "}", "a {animal", "animal}", "{}", "{a{b}}", "{{a}"])
def test_a_lone_brace_is_refused_before_any_row_is_read(text):
    with pytest.raises(ArgumentError, match="lone") as caught:
        Template.parse(text, what="set")
    assert caught.value.argument == "set"


@pytest.mark.parametrize("name", ["colour", "size.height", "animal.upper", "none", "list", "size"])
def test_a_value_that_is_missing_or_no_text_is_named(name):
    with pytest.raises(BadFieldError) as caught:
        Template.parse(f"a {{{name}}}", what="set").fill(VALUES)
    assert caught.value.field == name


@given(st.text(alphabet="trap.__cls[0]!r:>9 ", min_size=1))
@example("trap.__class__")
@example("trap.__class__.__mro__[1]")
@example("trap[0]")
@example("trap!r")
@example("trap:>10")
@example("text.__class__")
def test_nothing_but_a_name_is_ever_looked_up(name):
    class Watched(dict):
        asked: list[object] = []  # noqa: RUF012  one list for one example

        def __contains__(self, key: object) -> bool:
            self.asked.append(key)
            return super().__contains__(key)

    values = Watched(text="plain")
    template = Template.parse(f"{{{name}}}", what="set")
    if name == "text":
        assert template.fill(values) == "plain"
        return
    with pytest.raises(BadFieldError):
        template.fill(values)
    assert set(values.asked) <= {name, name.split(".")[0]}


def test_an_object_in_the_row_is_refused_untouched():
    with pytest.raises(BadFieldError):
        Template.parse("{trap.secret}", what="set").fill({"trap": type("Plain", (), {"secret": 1})})


@given(st.text(), st.text())
def test_a_value_with_braces_is_not_filled_again(before, value):
    doubled = before.replace("{", "{{").replace("}", "}}")
    filled = Template.parse(doubled + "{value}", what="set").fill({"value": value})
    assert filled == before + value
