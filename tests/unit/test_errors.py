from __future__ import annotations

import copy
import inspect
import pickle
import re
from datetime import UTC, datetime
from typing import Any

import pytest

import falq
from falq import errors
from falq.errors import ApiError, FalqError, JobFailedError, SubmissionUnknownError

EVERY_CLASS = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FalqError)
]
SAMPLES: dict[str, Any] = {
    "endpoint": "fal-ai/flux",
    "request_id": "r-1",
    "intent_id": "i-1",
    "retryable": True,
    "possibly_billed": True,
    "setting": "FAL_KEY",
    "argument": "hint",
    "request_sent": True,
    "status_code": 418,
    "error_type": "odd",
    "detail": [{"loc": ["body"], "msg": "x"}],
    "problems": (("prompt", "missing"),),
    "retry_after_s": 30.0,
    "excerpt": "<html>",
    "sent_at": datetime(2026, 11, 21, tzinfo=UTC),
    "attempts": 2,
    "reason": "reset",
    "job_id": 7,
    "timeout_s": 5.0,
    "cancel_outcome": "requested",
}


def _accepted(kind: type[FalqError]) -> dict[str, Any]:
    """Return a sample for each attribute that a class and its bases take."""
    names: set[str] = set()
    for base in kind.__mro__:
        if issubclass(base, FalqError) and "__init__" in vars(base):
            names |= set(inspect.signature(base).parameters) - {"self", "message", "facts"}
    return {name: SAMPLES.get(name, f"a {name}") for name in names}


def _full(kind: type[FalqError]) -> FalqError:
    return kind("it went wrong; do this", **_accepted(kind))


@pytest.fixture(params=EVERY_CLASS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> type[FalqError]:
    return request.param


@pytest.mark.parametrize(
    "again",
    [
        lambda error: pickle.loads(pickle.dumps(error)),
        lambda error: pickle.loads(pickle.dumps(error, protocol=0)),
        copy.copy,
        copy.deepcopy,
    ],
    ids=["pickle", "pickle 0", "copy", "deepcopy"],
)
def test_every_error_survives_the_way_to_another_process(kind, again):
    error = _full(kind)
    error.add_note("seen by a test")
    twin = again(error)
    assert type(twin) is kind
    assert (twin.args, str(twin)) == (error.args, str(error))
    assert vars(twin) == vars(error)


def test_every_error_keeps_what_it_was_given(kind):
    error = _full(kind)
    for name, value in _accepted(kind).items():
        assert getattr(error, name) == value, name


def test_every_error_can_be_hashed_and_says_what_may_be_done(kind):
    required = {"status_code": 500} if issubclass(kind, ApiError) else {}
    error = kind("x", **required)
    assert isinstance(hash(error), int)
    assert isinstance(error.retryable, bool)
    assert isinstance(error.possibly_billed, bool)
    assert (error.request_id, error.intent_id, error.endpoint) == (None, None, None)


def test_no_error_shows_a_control_character(kind):
    bad = "a\x1b[2J\r\nroot: \u202eforged" + "\x07" * 5000
    required = {"status_code": 500} if issubclass(kind, ApiError) else {}
    error = kind(bad, request_id=bad, **required)
    assert str(error).isprintable()
    assert str(error.args[0]).isprintable()
    assert len(str(error)) <= 2048 + 100


def test_every_error_can_be_imported_from_falq_and_says_so(kind):
    assert getattr(falq, kind.__name__) is kind
    assert kind.__module__ == "falq"


def test_every_error_has_a_docstring(kind):
    assert kind.__doc__


LINE = re.compile(r"^    ([│ ]*)[├└]── (\w+)(?: \((\w+)\))?", re.MULTILINE)


def test_the_tree_in_the_docstring_is_the_real_one():
    drawn: dict[str, tuple[str, str | None]] = {}
    path = ["FalqError"]
    for bars, name, builtin in LINE.findall(errors.__doc__):
        depth = len(bars) // 4 + 1
        del path[depth:]
        drawn[name] = path[-1], builtin or None
        path.append(name)
    real = {}
    for each in EVERY_CLASS[1:]:
        extra = [base.__name__ for base in each.__bases__[1:] if not issubclass(base, FalqError)]
        real[each.__name__] = each.__bases__[0].__name__, (extra or [None])[0]
    assert drawn == real


def test_an_error_names_its_request_once():
    assert str(FalqError("it failed", request_id="r-1")) == "it failed (request r-1)"
    assert str(FalqError("r-1 failed", request_id="r-1")) == "r-1 failed"


def test_a_message_of_megabytes_is_cut():
    assert len(str(JobFailedError("x" * 5_000_000))) <= 2048


def test_excerpts_and_reasons_are_made_printable():
    assert errors.WireError("x", excerpt="\x1b" * 900).excerpt.isprintable()
    assert SubmissionUnknownError("x", reason="a\nb").reason == "a\\nb"


@pytest.mark.parametrize(
    ("name", "is_retryable", "is_billed"),
    [
        ("TransportError", True, False),
        ("ConnectError", True, False),
        ("RateLimitError", True, False),
        ("ServerError", True, False),
        ("AuthenticationError", False, False),
        ("InvalidInputError", False, False),
        ("SubmissionUnknownError", False, True),
        ("JobTimeoutError", False, True),
        ("JobLostError", False, True),
        ("JobFailedError", False, False),
    ],
)
def test_each_kind_has_its_defaults(name, is_retryable, is_billed):
    kind = getattr(errors, name)
    assert (kind.retryable, kind.possibly_billed) == (is_retryable, is_billed)


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ConfigError", ValueError),
        ("ArgumentError", ValueError),
        ("TransportTimeoutError", TimeoutError),
        ("JobTimeoutError", TimeoutError),
        ("SessionClosedError", RuntimeError),
    ],
)
def test_what_python_has_a_name_for_is_caught_by_it(name, builtin):
    assert issubclass(getattr(errors, name), builtin)


def test_a_refused_input_is_caught_by_both_its_names():
    error = errors.JobInputError("x")
    assert isinstance(error, errors.InvalidInputError)
    assert isinstance(error, errors.JobFailedError)
    assert error.status_code == 422
    assert errors.JobInputError("x", status_code=None).status_code == 422


def test_only_a_connect_error_says_that_nothing_was_sent():
    assert errors.TransportError("x").request_sent
    assert not errors.ConnectError("x").request_sent
