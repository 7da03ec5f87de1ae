"""Options of a submission: what is none is told, with what to write instead."""

from __future__ import annotations

import pytest

from falq.errors import ArgumentError
from falq.keywords import options_of


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("input", "'arguments'"),
        ("interval", "PollSettings"),
        ("timeout", "client_timeout"),
        ("webhook", "webhook_url"),
        ("logs", "with_logs"),
    ],
)
def test_a_name_that_other_clients_have_is_told_with_its_counterpart(name, instead):
    with pytest.raises(ArgumentError, match=f"no option '{name}'; ") as caught:
        options_of({name: 1}, None)
    assert instead in str(caught.value).partition("the options are")[0]
    assert caught.value.argument == name


def test_any_other_name_is_told_with_the_options_that_there_are():
    with pytest.raises(ArgumentError, match=r"no option 'prio'; the options are .*priority"):
        options_of({"prio": "low"}, None)
