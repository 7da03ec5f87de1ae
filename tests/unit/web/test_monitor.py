"""What an app tells of its health."""

from __future__ import annotations

import json

import pytest
from attrs import define

from falq.web import Monitor, ProxyStatistics
from tests.unit.web.test_metrics import COUNTS


@define
class Watched:
    """An app whose state the test sets."""

    reason: str | None = None
    counts: object = COUNTS
    opened_at: float | None = 1.0

    def why_not_ready(self):
        return self.reason

    def statistics(self):
        return self.counts


def ask(path, watched=None, method="GET"):
    answer = Monitor(watched or Watched()).answer(method, path)
    return answer.status_code, json.loads(answer.body)


def test_the_loop_that_answers_is_alive_whatever_the_session_does():
    assert ask("/healthz") == (200, {"status": "ok"})
    assert ask("/healthz", Watched("closed", None, None)) == (200, {"status": "ok"})


def test_an_app_that_takes_jobs_is_ready():
    assert ask("/readyz") == (200, {"status": "ready", "waiting": 3, "in_flight": 5})


@pytest.mark.parametrize("reason", ["draining", "halted", "full"])
def test_an_app_that_takes_none_is_not_ready_and_says_why(reason):
    code, told = ask("/readyz", Watched(reason))
    assert (code, told["status"]) == (503, reason)


def test_an_app_that_is_not_open_has_no_counts():
    assert ask("/readyz", Watched("closed", None, None)) == (503, {"status": "closed"})


def test_metrics_come_in_the_form_that_prometheus_asks_for():
    answer = Monitor(Watched()).answer("GET", "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b"falq_jobs_waiting 3\n" in answer.body
    assert b"falq_ready 1\n" in answer.body


def test_what_an_app_has_beside_its_session_is_counted_while_it_lives():
    class Proxy:
        def statistics(self):
            return ProxyStatistics(passed=3, refused=0, in_flight=0, users=1)

    monitor, proxy = Monitor(Watched()), Proxy()
    monitor.add(proxy)
    monitor.add(proxy)
    line = b'falq_proxy_calls_total{outcome="passed"} 3\n'
    assert line in monitor.answer("GET", "/metrics").body
    del proxy
    assert line not in monitor.answer("GET", "/metrics").body


def test_the_last_part_of_the_path_chooses():
    assert ask("/internal/probes/healthz/")[0] == 200
    assert ask("/internal/else")[0] == 404
    assert ask("/")[0] == 404


def test_nothing_but_reading_is_answered():
    answer = Monitor(Watched()).answer("POST", "/healthz")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/else"])
def test_no_answer_is_kept_by_anybody(path):
    assert Monitor(Watched()).answer("GET", path).headers["cache-control"] == "no-store"
