"""The words for what a batch came to: this run's and the whole batch's."""

from __future__ import annotations

from falq.batch import BatchSummary, RunFigures


def a_summary(**changes: object) -> BatchSummary:
    facts: dict[str, object] = {
        "rows": 10,
        "succeeded": 10,
        "failed": 0,
        "cancelled": 0,
        "timed_out": 0,
        "unknown": 0,
        "left": 0,
    }
    return BatchSummary(**(facts | changes))  # type: ignore[arg-type]  # by name


def test_a_first_run_says_what_the_batch_came_to():
    summary = a_summary(files=10, spent_usd=0.5, this_run=RunFigures(succeeded=10, files=10))
    assert str(summary) == "10 rows: 10 succeeded, 10 files, $0.5000 spent"


def test_a_later_run_tells_its_own_counts_and_those_of_the_batch_apart():
    run = RunFigures(succeeded=3, failed=1, files=3, spent_usd=0.15)
    summary = a_summary(
        succeeded=9, failed=1, files=9, spent_usd=0.5, this_run=run, has_earlier_runs=True
    )
    assert str(summary).splitlines() == [
        "this run: 4 rows: 1 failed, 3 files, $0.1500 spent",
        "in all: 10 rows: 9 succeeded, 1 failed, 9 files, $0.5000 spent",
    ]
    html = summary._repr_html_()
    assert "<th>files</th><td>9</td>" in html
    assert "<th>files, this run</th><td>3</td>" in html


def test_a_submit_that_stays_lost_is_no_failure_of_the_run():
    run = RunFigures(unknown=2)
    summary = a_summary(succeeded=8, unknown=2, this_run=run, has_earlier_runs=True)
    assert str(summary).splitlines()[0] == "this run: 2 rows: 2 unknown"


def test_a_batch_is_complete_only_with_every_row_and_every_file():
    assert a_summary().is_complete
    assert not a_summary(failed_files=1).is_complete
    assert not a_summary(bad_rows=1).is_complete
    assert not a_summary(succeeded=9, left=1).is_complete


def test_a_run_that_did_nothing_says_so_in_one_word():
    assert str(a_summary(rows=0, succeeded=0)) == "0 rows"
