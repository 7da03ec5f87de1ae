"""Options and errors come back from a journal as they went in."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from falq import errors
from falq._core.recorded import dump_error, dump_options, load_error, load_options, load_result
from falq.errors import FalqError, JobError, JobInputError, JournalConflictError
from falq.model import ObjectLifecycle, SubmitOptions

KINDS = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FalqError)
]


def through_json(value: object) -> dict[str, object]:
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_comes_back_as_its_kind(kind: type[FalqError]) -> None:
    facts = {"status_code": 422} if issubclass(kind, errors.ApiError) else {}
    error = kind("it went wrong", **facts)
    error.request_id = "r1"
    found = load_error(through_json(dump_error(error)))
    assert type(found) is kind
    assert str(found) == str(error)
    assert (found.request_id, found.retryable) == ("r1", error.retryable)


def test_an_error_keeps_what_it_carries() -> None:
    error = JobInputError("bad", detail=[{"loc": ["a"]}], problems=(("a", "is wrong"),))
    found = load_error(through_json(dump_error(error)))
    assert isinstance(found, JobInputError)
    assert found.problems == error.problems
    assert found.detail == error.detail
    assert found.status_code == 422


def test_instants_and_tuples_are_themselves_again() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    unknown = errors.SubmissionUnknownError("lost", sent_at=at)
    assert load_error(through_json(dump_error(unknown))).sent_at == at
    conflict = JournalConflictError("taken", keys=("a", "b"))
    assert load_error(through_json(dump_error(conflict))).keys == ("a", "b")
    assert load_error({"kind": "SubmissionUnknownError", "sent_at": "never"}).sent_at is None


@pytest.mark.parametrize(
    "stored", [{}, {"message": "x", "kind": "OfTheFuture"}, {"kind": "Exception", "args": [1]}]
)
def test_an_error_of_an_unknown_kind_is_a_job_error(stored: dict[str, object]) -> None:
    found = load_error(stored)
    assert type(found) is JobError
    assert str(found)


def test_a_record_sets_nothing_but_what_the_error_has() -> None:
    found = load_error({"kind": "JobError", "with_traceback": 1, "unheard_of": 1})
    assert callable(found.with_traceback)
    assert not hasattr(found, "unheard_of")


def test_what_json_has_not_is_kept_as_text() -> None:
    error = errors.JobFailedError("failed", detail={1, 2})
    assert through_json(dump_error(error))["detail"] == "{1, 2}"


def test_plain_options_take_no_room() -> None:
    assert dump_options(SubmitOptions()) == {}
    assert load_options({}) == SubmitOptions()


def test_options_come_back_and_unknown_ones_are_passed_over() -> None:
    options = SubmitOptions(
        priority="low",
        tags={"a": "b"},
        store_io=False,
        lifecycle=ObjectLifecycle(expiration_s=60, initial_acl={"a": 1}),
    )
    stored = through_json(dump_options(options))
    assert load_options({**stored, "client_timeout": 3.0}) == options


def test_options_without_a_lifecycle_come_back_as_well() -> None:
    options = SubmitOptions(priority="low")
    assert load_options(through_json(dump_options(options))) == options


@pytest.mark.parametrize(("body", "value"), [(b'{"a":1}', {"a": 1}), (b"\xff\x00", b"\xff\x00")])
def test_a_result_is_json_or_bytes(body: bytes, value: object) -> None:
    assert load_result(body) == value
