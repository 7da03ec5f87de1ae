"""Tokens: two ids and back, whatever else is given."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq._core.protocol import make_ticket
from falq._core.resumption import dump_token, read_token
from falq.errors import ArgumentError
from falq.model import EndpointId

TICKET = make_ticket(EndpointId.parse("fal-ai/flux/schnell"), "019b76da-a800-7ead")


def test_a_token_gives_the_ticket_back():
    assert read_token(dump_token(TICKET)) == TICKET


def test_a_token_names_ids_and_nothing_else():
    assert json.loads(dump_token(TICKET)) == {
        "falq": 1,
        "endpoint": "fal-ai/flux/schnell",
        "request_id": "019b76da-a800-7ead",
    }


@pytest.mark.parametrize(
    "token",
    [
        "",
        "{}",
        "null",
        "019b76da-a800-7ead",
        '{"falq": 2, "endpoint": "acme/echo", "request_id": "r-1"}',
        '{"falq": 1, "endpoint": "acme/echo"}',
        '{"falq": 1, "request_id": "r-1"}',
        '{"falq": 1, "endpoint": "acme/echo", "request_id": "../../x"}',
        '{"falq": 1, "endpoint": "https://evil.example/", "request_id": "r-1"}',
        '{"falq": 1, "endpoint": "acme/echo", "request_id": "' + "r" * 5000 + '"}',
        "[" * 5000,
    ],
)
def test_what_is_no_token_is_refused(token):
    with pytest.raises(ArgumentError):
        read_token(token)


@given(st.text())
def test_no_text_breaks_the_reading(text):
    with pytest.raises(ArgumentError):
        read_token(text)
