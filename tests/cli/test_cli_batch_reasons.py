"""One line for each reason, and no line for each row."""

from __future__ import annotations

from falq.batch import RowOutcome, SavedFile
from falq.cli.batch_reasons import MOST_REASONS, Reasons


def failed(row_id: str, message: str, **changes: object) -> RowOutcome:
    facts: dict[str, object] = {
        "seq": 0,
        "id": row_id,
        "endpoint": "acme/echo",
        "status": "failed",
        "error": {"kind": "JobFailedError", "message": message},
    }
    return RowOutcome(**(facts | changes))  # type: ignore[arg-type]  # by name


def test_the_first_row_of_a_reason_is_named_and_the_others_are_counted():
    reasons = Reasons()
    lines = [reasons.take(failed(f"row-{n}", f"the runner {n} is gone")) for n in range(3)]
    assert lines == ["row-0 failed: the runner 0 is gone", None, None]
    assert reasons.counted() == ["3 rows failed, first told of row-0: the runner 0 is gone"]


def test_a_long_reason_is_told_in_full_once():
    reasons = Reasons()
    lines = [reasons.take(failed(f"row-{n}", "no connection " * 10)) for n in range(2)]
    assert str(lines[0]).count("no connection") == 10
    (line,) = reasons.counted()
    assert line.count("no connection") < 6


def test_ids_do_not_make_two_reasons_of_one():
    reasons = Reasons()
    assert reasons.take(failed("a", "job 019a2b7c-1111-7000-8000-0123456789ab ended badly"))
    assert reasons.take(failed("b", "job 019a2b7c-2222-7000-8000-ba9876543210 ended badly")) is None


def test_what_happened_once_is_not_told_twice():
    reasons = Reasons()
    assert reasons.take(failed("a", "out of memory"))
    assert reasons.counted() == []


def test_other_reasons_and_other_ends_have_lines_of_their_own():
    reasons = Reasons()
    assert reasons.take(failed("a", "out of memory"))
    assert reasons.take(failed("b", "out of memory", status="timed_out")) == (
        "b timed out: out of memory"
    )
    assert reasons.take(failed("c", "no connection", is_unsent=True)) == (
        "c not sent: no connection"
    )


def test_a_file_that_did_not_come_is_a_reason_though_its_row_succeeded():
    reasons = Reasons()
    broken = SavedFile(name=None, url="https://x.example/a.png", error="it is gone")
    row = failed("a", "", status="succeeded", error=None, files=(broken,))
    assert reasons.take(row) == "a file not fetched: it is gone"
    reasons.take(row)
    assert reasons.counted()[0].startswith("2 rows with a file not fetched, first told of a: ")
    assert reasons.take(failed("b", "", status="succeeded", error=None)) is None


def test_text_from_outside_cannot_steer_the_terminal():
    line = Reasons().take(failed("a\x1b[2J", "bad \x1b]0;title\x07 news"))
    assert line is not None
    assert "\x1b" not in line


def test_reasons_beyond_the_most_are_counted_together():
    reasons = Reasons()
    for n in range(MOST_REASONS + 5):
        reasons.take(failed(f"row-{n}", "x" * (n + 1)))
    (line,) = reasons.counted()
    assert line == "5 rows ended for other reasons; results.jsonl has them"
