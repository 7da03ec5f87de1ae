"""A session's counts in Prometheus' text format, version 0.0.4.

Owns the names, the types and the writing of them. It never reads a clock, opens a
socket or knows a web server: `monitor` asks it. Rules:

    1. Counters end in `_total`, durations and instants are in seconds.
    2. Labels have few values: how a job or a call ended, and the verbs of calls. No
       endpoint, no id, no key.
    3. A counter begins at 0 with its session, as counters of a process do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias

from attrs import frozen

from falq._engine.session_statistics import SessionStatistics
from falq._version import __version__
from falq.web.relay import ProxyStatistics
from falq.webhooks import ReceiverStatistics

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_Kind: TypeAlias = Literal["counter", "gauge"]


@frozen
class Family:
    """One metric with all its samples.

    Attributes:
        name: Its whole name.
        kind: `counter` or `gauge`.
        text: What it counts.
        samples: Labels and value of each.
    """

    name: str
    kind: _Kind
    text: str
    samples: tuple[tuple[Mapping[str, str], float], ...]


def families_of(
    statistics: SessionStatistics | None, *, is_ready: bool, opened_at: float | None
) -> list[Family]:
    """Return the metrics of a session.

    Args:
        statistics: Its counts; None if it is not open.
        is_ready: Whether it takes jobs now.
        opened_at: When it was opened, Unix seconds; None if it is not open.
    """
    general = [
        Family("falq_build_info", "gauge", "The running version", (({"version": __version__}, 1),)),
        _one("falq_ready", "gauge", "Whether jobs are taken now", int(is_ready)),
    ]
    if statistics is None or opened_at is None:
        return general
    opened = _one(
        "falq_session_opened_timestamp_seconds", "gauge", "When the session was opened", opened_at
    )
    return [*general, opened, *_gauges(statistics), *_counters(statistics)]


def families_beside(counted: Iterable[ReceiverStatistics | ProxyStatistics]) -> list[Family]:
    """Return the metrics of what an app has beside its session.

    Args:
        counted: The counts of receivers and proxies; those of a kind are added up.
    """
    counts = list(counted)
    receivers = [one for one in counts if isinstance(one, ReceiverStatistics)]
    proxies = [one for one in counts if isinstance(one, ProxyStatistics)]
    families = []
    if receivers:
        families += _of_receivers(receivers)
    if proxies:
        families += _of_proxies(proxies)
    return families


def _of_receivers(receivers: list[ReceiverStatistics]) -> list[Family]:
    words = ("accepted", "repeated", "refused", "stale", "unavailable")
    ends = {word: sum(getattr(one, word) for one in receivers) for word in words}
    hooks = sum(one.hook_errors for one in receivers)
    return [
        _by("falq_webhook_calls_total", "Calls of a receiver, by their end", "outcome", ends),
        _one("falq_webhook_hook_errors_total", "counter", "Deliveries whose hook raised", hooks),
    ]


def _of_proxies(proxies: list[ProxyStatistics]) -> list[Family]:
    ends = {word: sum(getattr(one, word) for one in proxies) for word in ("passed", "refused")}
    in_flight = sum(one.in_flight for one in proxies)
    users = sum(one.users for one in proxies)
    return [
        _by("falq_proxy_calls_total", "Calls of browsers, by their end", "outcome", ends),
        _one("falq_proxy_in_flight", "gauge", "Calls of browsers under way", in_flight),
        _one("falq_proxy_users", "gauge", "Users of the last minute", users),
    ]


def _gauges(now: SessionStatistics) -> list[Family]:
    return [
        _one("falq_jobs_waiting", "gauge", "Jobs in line for a slot", now.waiting),
        _one("falq_jobs_in_flight", "gauge", "Jobs that hold a slot", now.in_flight),
        _one("falq_jobs_watched", "gauge", "Accepted jobs under watch", now.watched),
        _one("falq_halted", "gauge", "Whether fal refuses key or account", int(now.is_halted)),
        _one("falq_submits_reconciling", "gauge", "Lost submits looked for", now.reconciling),
    ]


def _counters(now: SessionStatistics) -> list[Family]:
    ended = {
        "succeeded": now.succeeded,
        "failed": now.failed,
        "cancelled": now.cancelled,
        "timed_out": now.timed_out,
    }
    return [
        _one("falq_jobs_submitted_total", "counter", "Jobs that fal accepted", now.submitted),
        _by("falq_jobs_ended_total", "Jobs that ended, by how", "outcome", ended),
        _one("falq_polls_total", "counter", "Status checks that were answered", now.polls),
        _by("falq_calls_total", "HTTP calls sent, by verb", "verb", now.calls),
        _by("falq_retries_total", "HTTP calls repeated, by verb", "verb", now.retries),
        _one(
            "falq_resends_total",
            "counter",
            "Submits repeated after a lost answer; each may cost twice",
            now.resends,
        ),
        _one("falq_submits_reconciled_total", "counter", "Lost submits found", now.reconciled),
        _one("falq_webhooks_total", "counter", "Webhooks taken", now.deliveries),
    ]


def _one(name: str, kind: _Kind, text: str, value: float) -> Family:
    return Family(name, kind, text, (({}, value),))


def _by(name: str, text: str, label: str, counts: Mapping[str, int]) -> Family:
    samples = tuple(({label: word}, count) for word, count in sorted(counts.items()))
    return Family(name, "counter", text, samples)


def render(families: Iterable[Family]) -> str:
    r"""Return metrics as text.

    Args:
        families: Whose names and label names are well formed; texts and label values
            may be anything.

    Example:
        >>> cats = Family("cats_total", "counter", "Cats", (({"by": 'a "b"'}, 2),))
        >>> print(render([cats]), end="")
        # HELP cats_total Cats
        # TYPE cats_total counter
        cats_total{by="a \"b\""} 2
    """
    lines = []
    for family in families:
        lines.append(f"# HELP {family.name} {_escape(family.text)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines += (f"{family.name}{_labels(labels)} {value}" for labels, value in family.samples)
    return "".join(f"{line}\n" for line in lines)


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    quoted = (f'{name}="{_escape(value, quote=True)}"' for name, value in labels.items())
    return "{" + ",".join(quoted) + "}"


def _escape(text: str, *, quote: bool = False) -> str:
    escaped = text.replace("\\", r"\\").replace("\n", r"\n")
    return escaped.replace('"', r"\"") if quote else escaped
