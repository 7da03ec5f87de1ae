"""What repeats a row's arguments is taken out of what came back for it."""

from __future__ import annotations

from typing import Any

import pytest

from falq.batch.withholding import WITHHELD, without_inputs

ARGUMENTS = {"prompt": "a very secret cat", "style": "red", "more": [{"text": "a hidden dog"}]}


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ({"prompt": "a very secret cat", "seed": 7}, {"prompt": WITHHELD, "seed": 7}),
        ({"revised_prompt": "a cat in oil"}, {"revised_prompt": WITHHELD}),
        ({"echo": [{"said": "a hidden dog"}]}, {"echo": [{"said": WITHHELD}]}),
        ("the value 'a very secret cat' is too long", f"the value '{WITHHELD}' is too long"),
        ({"style": "red"}, {"style": WITHHELD}),
        ("the redder the better", "the redder the better"),
        ({"text": "what was heard"}, {"text": "what was heard"}),
        (None, None),
    ],
)
def test_what_repeats_an_argument_is_left_out_and_all_else_stays(value: Any, left: Any) -> None:
    assert without_inputs(value, ARGUMENTS) == left


def test_empty_arguments_take_nothing_away() -> None:
    assert without_inputs({"text": "", "n": 1}, {"a": "", "b": " "}) == {"text": "", "n": 1}
