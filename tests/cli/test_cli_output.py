"""What reaches a terminal, and what a failure becomes."""

from __future__ import annotations

import asyncio
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import falq
from falq.cli.failures import describe_failure, exit_code_of, failure_as_data
from falq.cli.live import describe_status
from falq.cli.output import Output, describe_size, describe_time, dump_json
from falq.cli.running import run_command


def a_terminal() -> tuple[Output, io.StringIO]:
    written = io.StringIO()
    console = Console(file=written, markup=False, emoji=False, highlight=False, soft_wrap=True)
    return Output(console=console), written


@given(st.dictionaries(st.text(), st.text(), max_size=3), st.sampled_from([None, 2]))
def test_json_stays_the_same_value_and_holds_nothing_that_steers_a_terminal(value, indent):
    text = dump_json(value, indent=indent)
    assert json.loads(text) == value
    assert text.replace("\n", "").isprintable()


@given(st.text())
def test_a_log_line_is_one_line_without_escapes_or_markup(message):
    output, written = a_terminal()
    output.log_line(message)
    text = written.getvalue()
    assert text.count("\n") == 1
    assert text[:-1].isprintable()


def test_brackets_in_a_log_line_are_no_markup():
    output, written = a_terminal()
    output.log_line("[bold]loud[/bold] :cat:")
    assert "[bold]loud[/bold] :cat:" in written.getvalue()


def test_a_quiet_command_says_errors_only():
    output, written = a_terminal()
    output.is_quiet = True
    output.note("a note")
    output.log_line("a line")
    output.error("broken\x1b[2J")
    assert written.getvalue() == "falq: broken\\x1b[2J\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (falq.ConfigError("no key"), 3),
        (falq.UnsupportedError("queue only"), 3),
        (falq.AuthenticationError("no", status_code=401), 3),
        (falq.ArgumentError("no endpoint"), 2),
        (falq.JobFailedError("it failed"), 1),
        (falq.JobInputError("refused"), 1),
        (falq.JobTimeoutError("late"), 1),
        (falq.ConnectError("refused"), 1),
        (falq.SubmissionUnknownError("lost"), 1),
        (OSError(28, "No space left on device", "out/a.png"), 1),
        (ZeroDivisionError("a bug"), 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error, code):
    assert exit_code_of(error) == code


def test_an_unknown_submit_names_its_intent_and_the_bill():
    text = "\n".join(describe_failure(falq.SubmissionUnknownError("lost", intent_id="a1b2c3")))
    assert "a1b2c3" in text
    assert "billed" in text


def test_a_bug_becomes_two_lines_that_say_how_to_report_it():
    first, second = describe_failure(ZeroDivisionError("division by zero"))
    assert first.startswith("a bug in falq: ZeroDivisionError")
    assert "report" in second


def test_a_bug_in_a_command_ends_in_lines_and_a_code():
    async def broken() -> int:
        raise KeyError("boom")

    output, written = a_terminal()
    assert run_command(broken, output) == 1
    assert "a bug in falq: KeyError" in written.getvalue()
    assert "Traceback" not in written.getvalue()


def test_a_bug_in_a_task_of_its_own_becomes_lines_and_the_command_goes_on():
    async def command() -> int:
        async def stray() -> None:
            raise KeyError("boom")

        task = asyncio.ensure_future(stray())
        await asyncio.wait({task})
        del task
        return 0

    output, written = a_terminal()
    assert run_command(command, output) == 0
    assert "a bug in falq: KeyError" in written.getvalue()
    assert "Traceback" not in written.getvalue()


def test_the_log_of_a_bug_is_shown_on_request(monkeypatch):
    async def broken() -> int:
        raise KeyError("boom")

    monkeypatch.setenv("FALQ_LOG", "debug")
    output, written = a_terminal()
    run_command(broken, output)
    assert "Traceback" in written.getvalue()


def test_an_interrupted_command_ends_with_130():
    async def interrupted() -> int:
        raise asyncio.CancelledError

    assert run_command(interrupted, a_terminal()[0]) == 130


def test_a_failure_as_data_keeps_what_programs_branch_on():
    error = falq.JobInputError("no", request_id="r1", problems=(("prompt", "missing"),))
    data = failure_as_data(error)["error"]
    assert data["kind"] == "JobInputError"
    assert data["request_id"] == "r1"
    assert data["problems"] == (("prompt", "missing"),)
    assert data["exit_code"] == 1


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (falq.Queued(3), "queued, 3 ahead"),
        (falq.Queued(0), "queued, next in line"),
        (falq.Queued(None), "queued"),
        (falq.InProgress(), "running"),
        (falq.Completed(), "completed"),
        (falq.Completed(error="a\x1bb"), "ended: a\\x1bb"),
        (falq.Status("PAUSED"), "PAUSED"),
    ],
)
def test_a_status_has_words_for_a_reader(status, words):
    assert describe_status(status) == words


def test_sizes_and_times_are_short():
    assert [describe_size(n) for n in (0, 900, 1536, 45_000, 3 * 1024**3)] == [
        "0 bytes",
        "900 bytes",
        "1.5 KiB",
        "44 KiB",
        "3.0 GiB",
    ]
    assert [describe_time(s) for s in (0.4, 75, 3723)] == ["0:00", "1:15", "1:02:03"]
