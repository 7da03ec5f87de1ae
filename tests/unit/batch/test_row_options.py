from __future__ import annotations

import pytest

from falq.batch.options import OPTION_NAMES, submit_keywords
from falq.batch.problems import BadFieldError
from falq.model import ObjectLifecycle
from falq.session import SubmitKeywords

TAKEN = [
    ({}, {}),
    ({"priority": "low", "hint": None}, {"priority": "low"}),
    ({"client_timeout": 60, "start_timeout": 5}, {"client_timeout": 60, "start_timeout": 5}),
    ({"tags": None, "store_io": None}, {}),
    ({"lifecycle": {"expiration_s": 60}}, {"lifecycle": ObjectLifecycle(expiration_s=60)}),
]


@pytest.mark.parametrize(("options", "keywords"), TAKEN)
def test_options_become_keywords_of_submit(options, keywords):
    assert submit_keywords(options) == keywords


def test_every_option_is_a_keyword_of_submit():
    assert set(SubmitKeywords.__annotations__) >= OPTION_NAMES


REFUSED = [
    ({"prio": "low"}, "options.prio"),
    ({"path": "x"}, "options.path"),
    ({"priority": "high"}, "options.priority"),
    ({"no_retry": "false"}, "options.no_retry"),
    ({"store_io": 0}, "options.store_io"),
    ({"client_timeout": 0}, "options.client_timeout"),
    ({"client_timeout": True}, "options.client_timeout"),
    ({"client_timeout": "60"}, "options.client_timeout"),
    ({"lifecycle": {"expires": 60}}, "options.lifecycle"),
    ({"lifecycle": 60}, "options.lifecycle"),
    ({"headers": {"Authorization": "x"}}, "options.headers"),
    ({"hint": object()}, "options"),
    ({"start_timeout": float("inf")}, "options"),
]


@pytest.mark.parametrize(("options", "field"), REFUSED)
def test_an_option_that_cannot_be_sent_is_named(options, field):
    with pytest.raises(BadFieldError) as caught:
        submit_keywords(options)
    assert caught.value.field == field
