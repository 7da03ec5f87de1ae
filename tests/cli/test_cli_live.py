"""The line about one job, told by events whether its server answers."""

from __future__ import annotations

import falq
from falq.cli.live import JobLine, Silence
from falq.cli.output import Output
from falq.events import Polled, PollFailed, Retrying
from falq.model import InProgress

ERROR = falq.ConnectError("could not connect\x1b[2J")


def of(kind, **facts):
    return kind(job_id=1, endpoint="acme/echo", request_id="one", now=0.0, **facts)


def a_line():
    line = JobLine(Output(), "acme/echo", "one")
    line.show(InProgress())
    return line


def test_a_server_that_does_not_answer_is_told_and_not_that_the_job_runs(capsys):
    line = a_line()
    assert capsys.readouterr().err == "running (0:00)\n"
    line.hear(of(PollFailed, error=ERROR, next_in_s=1.0))
    line.beat()
    assert capsys.readouterr().err == "no answer for 0 s, last seen running (0:00)\n"


def test_an_answer_takes_that_back(capsys):
    line = a_line()
    line.hear(of(PollFailed, error=ERROR, next_in_s=1.0))
    line.hear(of(Polled, polls=2, next_in_s=1.0))
    capsys.readouterr()
    line.beat()
    assert capsys.readouterr().err == "running (0:00)\n"


def test_a_submit_that_is_tried_again_says_why(capsys):
    line = JobLine(Output(), "acme/echo")
    line.hear(of(Retrying, verb="submit", attempt=1, delay_s=1.0, error=ERROR))
    line.beat()
    said = capsys.readouterr().err
    assert said.startswith("submitting again: could not connect")
    assert "\x1b" not in said


def test_where_no_line_is_drawn_a_silence_is_told_once_and_so_is_its_end(capsys):
    silence = Silence(Output())
    silence.hear(of(Polled, polls=1, next_in_s=1.0))
    for _ in range(3):
        silence.hear(of(PollFailed, error=ERROR, next_in_s=1.0))
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("no status: could not connect")
    assert "still trying" in said
    for _ in range(2):
        silence.hear(of(Polled, polls=2, next_in_s=1.0))
    assert capsys.readouterr().err == "the server answers again\n"
