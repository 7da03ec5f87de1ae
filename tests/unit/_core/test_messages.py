from __future__ import annotations

import pytest

from falq._core.messages import MIB, Call, CallLimits, CallTimeouts, Verb
from tests.support import a_reply


@pytest.mark.parametrize(
    ("verb", "seconds"),
    [(Verb.SUBMIT, 120.0), (Verb.STATUS, 60.0), (Verb.RESULT, 60.0), (Verb.CANCEL, 2.5)],
)
def test_every_verb_has_its_whole_time(verb, seconds):
    assert CallTimeouts().for_verb(verb) == seconds


@pytest.mark.parametrize(
    ("verb", "status_code", "size_bytes"),
    [
        (Verb.RESULT, 200, 64 * MIB),
        (Verb.RESULT, 422, MIB),
        (Verb.STATUS, 202, 8 * MIB),
        (Verb.STATUS, 500, MIB),
        (Verb.SUBMIT, 200, 8 * MIB),
        (Verb.CANCEL, 400, MIB),
    ],
)
def test_every_answer_has_its_limit(verb, status_code, size_bytes):
    assert CallLimits().for_reply(verb, status_code) == size_bytes


@pytest.mark.parametrize("name", ["connect_s", "read_s", "total_s", "submit_s", "cancel_s"])
def test_a_time_out_of_nothing_is_refused(name):
    with pytest.raises(ValueError, match=name):
        CallTimeouts(**{name: 0})


@pytest.mark.parametrize("name", ["status_bytes", "result_bytes", "error_bytes"])
def test_a_limit_of_nothing_is_refused(name):
    with pytest.raises(ValueError, match=name):
        CallLimits(**{name: 0})


def test_prompts_and_answers_are_not_shown_in_a_repr():
    call = Call(Verb.SUBMIT, "POST", "/fal-ai/flux", b'{"prompt": "private"}')
    reply = a_reply(200, {"prompt": "private"}, headers={"set-cookie": "private"})
    assert "private" not in repr(call) + repr(reply)
