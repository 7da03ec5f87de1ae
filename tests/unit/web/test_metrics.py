"""A session's counts as Prometheus reads them."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from falq import SessionStatistics
from falq.web import ProxyStatistics
from falq.web.metrics import Family, families_beside, families_of, render
from falq.webhooks import ReceiverStatistics

COUNTS = SessionStatistics(
    waiting=3,
    in_flight=5,
    watched=4,
    submitted=100,
    succeeded=80,
    failed=7,
    cancelled=2,
    timed_out=1,
    polls=900,
    calls={"submit": 101, "status": 903},
    retries={"submit": 1},
    resends=6,
    reconciling=8,
    reconciled=9,
    deliveries=77,
    is_halted=True,
)


def read(text):
    """Return what Prometheus' own parser finds: the families, and each sample's value."""
    families = list(text_string_to_metric_families(text))
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }
    return families, samples


def metrics(statistics=COUNTS, *, is_ready=True, opened_at=1_767_225_600.5):
    return families_of(statistics, is_ready=is_ready, opened_at=opened_at)


def test_prometheus_reads_every_count():
    _, samples = read(render(metrics()))
    assert samples[("falq_jobs_waiting",)] == 3
    assert samples[("falq_jobs_in_flight",)] == 5
    assert samples[("falq_jobs_watched",)] == 4
    assert samples[("falq_jobs_submitted_total",)] == 100
    ended = {
        key[1][1]: value for key, value in samples.items() if key[0] == "falq_jobs_ended_total"
    }
    assert ended == {"succeeded": 80, "failed": 7, "cancelled": 2, "timed_out": 1}
    assert samples[("falq_polls_total",)] == 900
    assert samples[("falq_calls_total", ("verb", "status"))] == 903
    assert samples[("falq_retries_total", ("verb", "submit"))] == 1
    assert samples[("falq_resends_total",)] == 6
    assert samples[("falq_submits_reconciling",)] == 8
    assert samples[("falq_submits_reconciled_total",)] == 9
    assert samples[("falq_webhooks_total",)] == 77
    assert samples[("falq_halted",)] == 1
    assert samples[("falq_session_opened_timestamp_seconds",)] == 1_767_225_600.5


def test_prometheus_finds_a_type_and_a_text_for_each():
    families, _ = read(render(metrics()))
    assert {family.type for family in families} == {"counter", "gauge"}
    assert all(family.documentation for family in families)
    assert len({family.name for family in families}) == len(metrics())


def test_counters_alone_end_in_total():
    assert all((one.kind == "counter") == one.name.endswith("_total") for one in metrics())
    assert all(one.name.startswith("falq_") for one in metrics())


def test_a_closed_session_has_no_counts_and_is_not_ready():
    _, samples = read(render(metrics(None, is_ready=False, opened_at=None)))
    assert samples.pop(("falq_ready",)) == 0
    assert {key[0] for key in samples} == {"falq_build_info"}


def test_a_count_of_nothing_yet_is_no_sample_and_no_error():
    empty = evolve(COUNTS, calls={}, retries={})
    _, samples = read(render(metrics(empty)))
    assert not [key for key in samples if key[0] == "falq_calls_total"]


def test_receivers_and_proxies_are_counted_beside_the_session():
    receivers = [ReceiverStatistics(accepted=5, stale=1), ReceiverStatistics(accepted=2)]
    proxies = [ProxyStatistics(passed=9, refused=4, in_flight=3, users=2)]
    _, samples = read(render(families_beside([*receivers, *proxies])))
    assert samples[("falq_webhook_calls_total", ("outcome", "accepted"))] == 7
    assert samples[("falq_webhook_calls_total", ("outcome", "stale"))] == 1
    assert samples[("falq_webhook_calls_total", ("outcome", "refused"))] == 0
    assert samples[("falq_webhook_hook_errors_total",)] == 0
    assert samples[("falq_proxy_calls_total", ("outcome", "passed"))] == 9
    assert samples[("falq_proxy_calls_total", ("outcome", "refused"))] == 4
    assert samples[("falq_proxy_in_flight",)] == 3
    assert samples[("falq_proxy_users",)] == 2
    assert families_beside([]) == []


@given(text=st.text(), value=st.text())
def test_any_text_survives_the_way_to_prometheus(text, value):
    # Its parser ends lines at these, which the format does not escape.
    text = "".join(text.splitlines()).strip()
    value = value.replace("\r", "")
    family = Family("a_total", "counter", text, (({"name": value}, 1),))
    _, samples = read(render([family]))
    assert samples == {("a_total", ("name", value)): 1}
