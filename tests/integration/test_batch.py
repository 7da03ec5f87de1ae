"""Batches against the emulator over real sockets, with a real journal and real files."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from falq import PollSettings, RetrySettings
from falq.batch import Batch, BatchSummary, Manifest, Refetched, RowOutcome, refetch_files
from falq.batch.planning import PAGE_ROWS
from falq.emulator import Emulator, Fault, Scenario
from falq.errors import (
    ArgumentError,
    AuthenticationError,
    ConfigError,
    JournalConflictError,
    JournalError,
    JournalLockedError,
)
from falq.gateways import Fal
from falq.journal import SqliteJournal
from falq.platform import Price

pytestmark = pytest.mark.slow

FLUX = "fal-ai/flux/schnell"
ECHO = "acme/echo"
FAST = Scenario(speed=1000.0, runners=50)
QUICK_POLLS = PollSettings(initial_s=0.02)


@pytest.fixture
def scenario() -> Scenario:
    """How the emulator behaves; tests override it."""
    return FAST


@pytest.fixture
async def emulator(scenario: Scenario) -> AsyncIterator[Emulator]:
    async with Emulator(scenario) as emulator:
        yield emulator


def echoes(count: int) -> list[dict[str, Any]]:
    return [{"say": number} for number in range(count)]


async def run(
    emulator: Emulator, rows: Any, out: Path | None, **settings: Any
) -> tuple[list[RowOutcome], BatchSummary]:
    settings = {"gateway": emulator.gateway, "endpoint": ECHO, "poll": QUICK_POLLS} | settings
    async with Batch(rows, out=out, **settings) as batch:
        outcomes = [outcome async for outcome in batch]
        return outcomes, await batch.summary()


def read_lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_bytes().splitlines()]


def ids(lines: Iterable[dict[str, Any]]) -> list[str]:
    return [line["id"] for line in lines]


FAULTS = Scenario(
    speed=1000.0,
    runners=50,
    seed=3,
    faults=(
        Fault("reset", "submit", probability=0.03, when="after"),
        Fault("nginx", "submit", probability=0.05, when="after", has_request_id=True),
        Fault("rate_limited", "submit", probability=0.03, retry_after_s=0),
        Fault("cut", "result", probability=0.05),
        Fault("json_error", "status", probability=0.05),
        Fault("cut", "file", probability=0.05),
    ),
)


@pytest.mark.parametrize("scenario", [FAULTS])
async def test_300_rows_with_faults_all_end_once_with_their_file(emulator, tmp_path):
    rows = [{"prompt": f"cat {number}"} for number in range(300)]
    outcomes, summary = await run(emulator, rows, tmp_path, endpoint=FLUX)
    assert summary.is_complete, summary
    assert len(outcomes) == 300
    stats = emulator.stats()
    assert (stats.jobs, stats.duplicates) == (300, 0)
    lines = read_lines(tmp_path)
    assert sorted(ids(lines)) == [f"row-{number:06}" for number in range(1, 301)]
    for line in lines:
        (file,) = line["files"]
        data = (tmp_path / file["name"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["size_bytes"], file["sha256"])
    assert len(list((tmp_path / "media").glob("[!.]*"))) == 300


async def test_a_line_has_what_a_reader_needs(emulator, tmp_path):
    (outcome,), _ = await run(emulator, [{"id": "a", "say": 1}], tmp_path)
    (line,) = read_lines(tmp_path)
    assert line["result"] == {"say": 1}
    assert line["request_id"] == outcome.request_id
    assert (line["id"], line["seq"], line["status"], line["files"]) == ("a", 0, "succeeded", [])
    assert {"sent_at", "accepted_at", "total_s"} <= line["timings"].keys()


async def test_the_same_batch_again_sends_nothing_and_keeps_its_lines(emulator, tmp_path):
    await run(emulator, echoes(20), tmp_path)
    before = sorted(ids(read_lines(tmp_path)))
    outcomes, summary = await run(emulator, echoes(20), tmp_path)
    assert (outcomes, summary.succeeded, summary.is_complete) == ([], 20, True)
    assert sorted(ids(read_lines(tmp_path))) == before
    assert emulator.stats().jobs == 20


async def test_appended_rows_run_and_the_others_do_not(emulator, tmp_path):
    await run(emulator, echoes(10), tmp_path)
    outcomes, summary = await run(emulator, echoes(15), tmp_path)
    assert (len(outcomes), summary.rows, emulator.stats().jobs) == (5, 15, 15)


async def test_changed_rows_are_named_and_nothing_is_sent(emulator, tmp_path):
    await run(emulator, echoes(5), tmp_path)
    with pytest.raises(JournalConflictError, match="row-000003") as refusal:
        await run(emulator, [*echoes(2), {"say": "other"}, *echoes(5)[3:]], tmp_path)
    assert refusal.value.keys == ("row-000003",)
    assert emulator.stats().jobs == 5


async def test_a_manifest_that_is_refused_leaves_the_journal_as_it_was(emulator, tmp_path):
    await run(emulator, echoes(5), tmp_path)
    # A whole page of new rows comes before the changed one.
    ahead = [{"id": f"new-{number}", "say": number} for number in range(PAGE_ROWS)]
    changed = [{"id": "row-000003", "arguments": {"say": "other"}}]
    with pytest.raises(JournalConflictError, match="row-000003"):
        await run(emulator, ahead + changed, tmp_path)
    _, summary = await run(emulator, None, tmp_path)
    assert (summary.rows, summary.left, emulator.stats().jobs) == (5, 0, 5)


async def test_a_file_that_changed_leaves_the_journal_as_it_was(emulator, tmp_path):
    (tmp_path / "a.txt").write_text("one")
    manifest = tmp_path / "rows.jsonl"
    manifest.write_text('{"note@": "a.txt"}\n')
    await run(emulator, manifest, tmp_path / "out")
    (tmp_path / "a.txt").write_text("two")
    with pytest.raises(JournalConflictError, match="row-000001"):
        await run(emulator, manifest, tmp_path / "out")
    _, summary = await run(emulator, None, tmp_path / "out")
    assert (summary.succeeded, emulator.stats().jobs) == (1, 1)


async def stop_after_one(emulator: Emulator, rows: Any, out: Path, **settings: Any) -> None:
    settings = {"gateway": emulator.gateway, "endpoint": ECHO, "max_jobs": 1} | settings
    async with Batch(rows, out=out, **settings) as batch:
        async for _ in batch:
            batch.stop()


async def test_rows_that_were_taken_out_of_the_manifest_are_not_started(emulator, tmp_path):
    await stop_after_one(emulator, echoes(20), tmp_path)
    manifest = Manifest(echoes(10), endpoint=ECHO)
    async with Batch(manifest, out=tmp_path, gateway=emulator.gateway) as batch:
        assert batch.left_out == {f"row-{number:06}" for number in range(11, 21)}
        assert batch.progress().total == 10
        _ = [outcome async for outcome in batch]
        summary = await batch.summary()
    assert (summary.rows, summary.succeeded, summary.left, summary.left_out) == (10, 10, 0, 10)
    assert summary.is_complete
    assert "10 left out" in str(summary)
    # The same manifest once more is told again.
    _, summary = await run(emulator, echoes(10), tmp_path)
    assert (summary.left_out, emulator.stats().jobs) == (10, 10)


async def test_rows_that_were_left_out_are_run_when_the_batch_is_gone_on_with(emulator, tmp_path):
    await stop_after_one(emulator, echoes(20), tmp_path)
    await run(emulator, echoes(10), tmp_path)
    _, summary = await run(emulator, None, tmp_path)
    assert (summary.succeeded, summary.left_out, emulator.stats().jobs) == (20, 0, 20)


async def test_a_row_that_others_equal_is_run_though_it_was_taken_out(emulator, tmp_path):
    rows = [{"id": name, "arguments": {"say": say}} for name, say in ("a0", "b1", "c1", "d1")]
    await stop_after_one(emulator, Manifest(rows, endpoint=ECHO, dedupe=True), tmp_path)
    shorter = Manifest([rows[0], *rows[2:]], endpoint=ECHO, dedupe=True)
    _, summary = await run(emulator, shorter, tmp_path)
    assert (summary.succeeded, summary.left_out, emulator.stats().jobs) == (4, 0, 2)


async def test_a_stopped_batch_goes_on_where_it_was(emulator, tmp_path):
    async with Batch(
        echoes(60), out=tmp_path, gateway=emulator.gateway, endpoint=ECHO, max_jobs=4
    ) as batch:
        async for _ in batch:
            batch.stop()
        summary = await batch.summary()
    assert summary.is_stopped
    assert 0 < summary.left < 60
    _, summary = await run(emulator, None, tmp_path)
    assert (summary.succeeded, summary.left, emulator.stats().jobs) == (60, 0, 60)
    assert len(set(ids(read_lines(tmp_path)))) == len(read_lines(tmp_path)) == 60


@pytest.mark.parametrize("scenario", [Scenario(run_s=0.3, runners=50)])
async def test_a_batch_that_was_left_at_once_attaches_to_what_runs(emulator, tmp_path, until):
    batch = Batch(echoes(20), out=tmp_path, gateway=emulator.gateway, endpoint=ECHO)
    async with batch, asyncio.timeout(10):
        reading = asyncio.ensure_future(anext(batch))
        await until(lambda: emulator.stats().jobs == 20)
        reading.cancel()
    _, summary = await run(emulator, None, tmp_path)
    assert (summary.succeeded, emulator.stats().jobs) == (20, 20)


NEVER_ANSWERED = evolve(FAST, faults=(Fault("reset", "submit", when="before"),))


@pytest.mark.parametrize("scenario", [NEVER_ANSWERED])
async def test_a_stopped_batch_waits_for_no_submit_that_is_looked_for(emulator, tmp_path, until):
    # The second run has three from the first, which take no place from those that it sends.
    for rows, max_jobs, lost in ((echoes(6), 3, 3), (None, 1, 4)):
        batch = Batch(
            rows, out=tmp_path, gateway=emulator.gateway, endpoint=ECHO, max_jobs=max_jobs
        )
        async with asyncio.timeout(15), batch:
            reading = asyncio.ensure_future(run_on(batch))
            await until(lambda lost=lost, batch=batch: batch.progress().lost == lost)
            batch.stop()
            assert await reading == []
            summary = await batch.summary()
        assert (summary.unknown, summary.left) == (lost, 6 - lost)
        assert emulator.stats().submits == lost


async def run_on(batch: Batch) -> list[RowOutcome]:
    return [outcome async for outcome in batch]


async def test_a_budget_stops_before_it_is_passed_and_goes_on_when_raised(emulator, tmp_path):
    prices = {ECHO: Price(0.1, "job")}
    _, summary = await run(emulator, echoes(10), tmp_path, prices=prices, budget_usd=0.45)
    assert summary.is_over_budget
    assert summary.spent_usd == pytest.approx(0.4)
    assert (summary.succeeded, summary.left, emulator.stats().jobs) == (4, 6, 4)
    # Going on without a word of the limit is no leave to spend more.
    _, summary = await run(emulator, None, tmp_path)
    assert summary.is_over_budget
    assert emulator.stats().jobs == 4
    _, summary = await run(emulator, echoes(10), tmp_path, prices=prices, budget_usd=0.75)
    assert (summary.succeeded, emulator.stats().jobs) == (7, 7)
    _, summary = await run(emulator, None, tmp_path, prices=prices, budget_usd=2.0)
    assert summary.is_complete
    assert summary.spent_usd == pytest.approx(1.0)


async def test_prices_come_from_the_platform_and_are_settled_with_what_was_billed(
    emulator, tmp_path
):
    rows = [{"prompt": f"cat {number}"} for number in range(6)]
    _, summary = await run(emulator, rows, tmp_path, endpoint=FLUX, budget_usd=5.0, download=False)
    lines = read_lines(tmp_path)
    assert all(line["cost_usd"] > 0 for line in lines)
    assert summary.spent_usd == pytest.approx(sum(line["cost_usd"] for line in lines))


async def test_a_budget_without_a_price_is_refused_and_nothing_is_sent(emulator, tmp_path):
    with pytest.raises(ConfigError, match="--price acme/echo="):
        await run(emulator, echoes(3), tmp_path, budget_usd=1.0)
    assert emulator.stats().submits == 0


async def test_equal_rows_run_once_and_each_has_its_line(emulator, tmp_path):
    rows = [{"prompt": "a cat"}, {"prompt": "a dog"}, {"prompt": "a cat"}, {"prompt": "a cat"}]
    manifest = Manifest(rows, endpoint=FLUX, dedupe=True)
    outcomes, summary = await run(emulator, manifest, tmp_path)
    assert (summary.succeeded, summary.rows, emulator.stats().jobs) == (4, 4, 2)
    lines = {line["id"]: line for line in read_lines(tmp_path)}
    assert lines["row-000004"]["duplicate_of"] == "row-000001"
    assert lines["row-000004"]["result"] == lines["row-000001"]["result"]
    assert lines["row-000004"]["files"] == lines["row-000001"]["files"]
    await run(emulator, None, tmp_path)
    assert {line["id"]: line for line in read_lines(tmp_path)} == lines
    assert len(outcomes) == 4


async def test_equal_rows_without_a_journal_are_refused(emulator):
    manifest = Manifest([{"say": 1}, {"say": 1}], endpoint=ECHO, dedupe=True)
    with pytest.raises(ConfigError, match="journal"):
        await run(emulator, manifest, None)


async def test_sorted_lines_are_in_the_order_of_the_rows(emulator, tmp_path):
    await run(emulator, echoes(50), tmp_path, sorted_lines=True)
    assert [line["seq"] for line in read_lines(tmp_path)] == list(range(50))


async def test_a_failed_row_is_an_outcome_and_stops_nothing(emulator, tmp_path):
    rows = [{"prompt": "fine"}, {"prompt": "bad", "num_inference_steps": 999}, {"prompt": "good"}]
    outcomes, summary = await run(emulator, rows, tmp_path, endpoint=FLUX)
    assert (summary.succeeded, summary.failed) == (2, 1)
    (failed,) = [outcome for outcome in outcomes if not outcome.is_success]
    (line,) = [line for line in read_lines(tmp_path) if line["status"] == "failed"]
    assert failed.id == line["id"] == "row-000002"
    assert "num_inference_steps" in json.dumps(line["error"])


async def test_bad_rows_stop_a_batch_or_are_skipped_and_listed(emulator, tmp_path):
    rows = [{"say": 1}, {"id": "x", "endpoint": "acme/echo"}, {"say": 2}]
    with pytest.raises(ArgumentError, match="line 2"):
        await run(emulator, rows, tmp_path / "a")
    assert emulator.stats().submits == 0
    outcomes, summary = await run(emulator, rows, tmp_path / "b", on_bad_row="skip")
    assert (len(outcomes), summary.bad_rows, summary.is_complete) == (2, 1, False)
    (bad,) = (tmp_path / "b" / "bad-rows.jsonl").read_text().splitlines()
    assert json.loads(bad)["line"] == 2


@pytest.mark.parametrize(
    "scenario",
    [Scenario(speed=1000.0, faults=(Fault("json_error", "file", status_code=404, times=1),))],
)
async def test_a_failed_download_keeps_the_result_and_is_fetched_by_the_next_run(
    emulator, tmp_path
):
    outcomes, summary = await run(emulator, [{"prompt": "a cat"}], tmp_path, endpoint=FLUX)
    assert outcomes[0].is_success
    assert outcomes[0].lacks_files
    assert (summary.failed_files, summary.is_complete) == (1, False)
    assert read_lines(tmp_path)[0]["files"][0]["error"]
    outcomes, summary = await run(emulator, None, tmp_path)
    assert summary.is_complete
    assert (tmp_path / outcomes[0].files[0].name).is_file()
    assert len(read_lines(tmp_path)) == 1
    assert emulator.stats().jobs == 1


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(
            speed=1000.0,
            faults=(Fault("reset", "submit", when="after", nth=(2, 5)),),
        )
    ],
)
async def test_a_lost_answer_is_looked_up_and_nothing_is_paid_twice(emulator, tmp_path):
    _, summary = await run(emulator, echoes(8), tmp_path)
    assert summary.succeeded == 8, summary
    assert (emulator.stats().jobs, emulator.stats().duplicates) == (8, 0)


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(
            speed=1000.0,
            history_delay_s=3600.0,
            faults=(Fault("reset", "submit", when="after", nth=2),),
        )
    ],
)
async def test_a_lost_answer_that_stays_lost_is_held_and_told(emulator, tmp_path):
    _, summary = await run(emulator, echoes(3), tmp_path, settle_s=0)
    assert (summary.succeeded, summary.unknown) == (2, 1)
    (line,) = [line for line in read_lines(tmp_path) if line["status"] == "unknown"]
    assert line["error"]["possibly_billed"]
    assert emulator.stats().jobs == 3


async def test_a_refused_key_stops_the_batch(emulator, tmp_path):
    wrong = Fal(key="nobody:wrong", queue_url=emulator.url, api_url=emulator.gateway.api_url)
    with pytest.raises(AuthenticationError):
        await run(emulator, echoes(500), tmp_path, gateway=wrong, max_jobs=5)
    assert emulator.stats().submits < 50


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(
            run_s=0.05, runners=50, faults=(Fault("json_error", "status", status_code=403, nth=1),)
        )
    ],
)
async def test_a_key_that_may_not_look_at_its_jobs_stops_the_batch(emulator, tmp_path):
    async with Batch(
        echoes(500), out=tmp_path, gateway=emulator.gateway, endpoint=ECHO, max_jobs=5
    ) as batch:
        with pytest.raises(AuthenticationError) as caught:
            async for _ in batch:
                pass
        assert (await batch.summary()).left > 480
    assert caught.value.request_id
    sent = emulator.stats().submits
    assert sent < 20
    async with Batch(
        None,
        journal=tmp_path / "journal.sqlite",
        gateway=emulator.gateway,
        max_jobs=50,
        poll=QUICK_POLLS,
    ) as batch:
        assert len([outcome async for outcome in batch]) > 480
    assert (emulator.stats().jobs, emulator.stats().duplicates) == (500, 0)


async def test_another_account_may_not_go_on_with_a_batch(emulator, tmp_path):
    await run(emulator, echoes(2), tmp_path)
    other = Fal(key="other:key", queue_url=emulator.url, api_url=emulator.gateway.api_url)
    with pytest.raises(JournalError):
        await run(emulator, echoes(3), tmp_path, gateway=other)
    assert emulator.stats().jobs == 2


async def test_two_runners_cannot_share_a_journal(emulator, tmp_path):
    async with Batch(echoes(2), out=tmp_path, gateway=emulator.gateway, endpoint=ECHO):
        with pytest.raises(JournalLockedError):
            await run(emulator, echoes(2), tmp_path)


async def test_a_journal_without_a_whole_plan_is_not_gone_on_with(emulator, tmp_path):
    with pytest.raises(ArgumentError, match="planning"):
        await run(emulator, None, tmp_path)


async def test_local_files_are_sent_as_data_urls_and_kept_as_names(emulator, tmp_path):
    (tmp_path / "cat.txt").write_bytes(b"meow")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"arguments": {"text_url@": "cat.txt"}}\n')
    (outcome,), _ = await run(emulator, rows, tmp_path / "out", download=False)
    assert outcome.result == {"text_url": "data:text/plain;base64,bWVvdw=="}
    (tmp_path / "cat.txt").write_bytes(b"woof")
    with pytest.raises(JournalConflictError):
        await run(emulator, rows, tmp_path / "out", download=False)


async def test_each_outcome_is_on_disk_when_it_is_given(emulator, tmp_path):
    async with Batch(echoes(20), out=tmp_path, gateway=emulator.gateway, endpoint=ECHO) as batch:
        async for outcome in batch:
            assert outcome.id in ids(read_lines(tmp_path))


async def test_progress_is_told_after_each_row(emulator, tmp_path):
    told = []
    await run(emulator, echoes(5), tmp_path, on_progress=told.append)
    assert [progress.done for progress in told] == [1, 2, 3, 4, 5]
    assert "5 of 5 rows" in told[-1]._repr_html_()


async def test_no_file_of_a_batch_holds_the_key(emulator, tmp_path):
    await run(emulator, [{"prompt": "a cat"}], tmp_path, endpoint=FLUX)
    secret = emulator.key.encode()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) >= 3
    assert not [path for path in written if secret in path.read_bytes()]
    batch = Batch([], out=tmp_path, gateway=emulator.gateway)
    assert emulator.key not in repr(vars(batch))


async def test_a_million_rows_are_not_taken_up_before_there_is_room(emulator):
    taken = 0

    def rows() -> Iterable[dict[str, Any]]:
        nonlocal taken
        for number in range(2000):
            taken += 1
            yield {"say": number}

    class Twice:
        def __iter__(self) -> Any:
            return iter(rows())

    async with Batch(Twice(), gateway=emulator.gateway, endpoint=ECHO, max_jobs=4) as batch:
        taken = 0
        await anext(batch)
        assert taken < 2000
        batch.stop()
        async for _ in batch:
            pass


async def leave_at_once(emulator: Emulator, rows: Any, out: Path, until: Any, **settings: Any):
    """Run a batch until the server has every row, and go."""
    count = len(rows)
    batch = Batch(rows, out=out, gateway=emulator.gateway, endpoint=ECHO, **settings)
    async with batch, asyncio.timeout(10):
        reading = asyncio.ensure_future(anext(batch))
        await until(lambda: emulator.stats().jobs == count)
        reading.cancel()


@pytest.mark.parametrize("scenario", [Scenario(run_s=3600, runners=50)])
@pytest.mark.parametrize("where", ["batch", "row"])
async def test_jobs_of_an_earlier_run_have_a_time_limit_too(emulator, tmp_path, until, where):
    rows = echoes(3)
    if where == "row":
        rows = [{"arguments": row, "options": {"client_timeout": 0.3}} for row in rows]
        # Only what was sent before the limit passed is a job of an earlier run.
        await leave_at_once(emulator, rows, tmp_path, until)
        _, summary = await run(emulator, None, tmp_path)
    else:
        await leave_at_once(emulator, rows, tmp_path, until)
        _, summary = await run(emulator, None, tmp_path, timeout=0.2)
    assert (summary.timed_out, emulator.stats().jobs) == (3, 3)


async def test_a_later_run_tells_its_own_counts_and_those_of_the_batch(emulator, tmp_path):
    prices = {FLUX: Price(0.1, "job")}
    rows = [{"prompt": f"cat {number}"} for number in range(5)]
    _, first = await run(emulator, rows[:3], tmp_path, endpoint=FLUX, prices=prices)
    assert not first.has_earlier_runs
    _, second = await run(emulator, rows, tmp_path, endpoint=FLUX)
    assert second.has_earlier_runs
    assert (second.rows, second.files, second.this_run.rows, second.this_run.files) == (5, 5, 2, 2)
    assert second.spent_usd == pytest.approx(0.5)
    assert second.this_run.spent_usd == pytest.approx(0.2)
    assert second.file_bytes > second.this_run.file_bytes > 0


@pytest.mark.slow
@pytest.mark.parametrize("scenario", [Scenario(run_s=2.0, runners=50)])
async def test_a_run_that_fetches_what_an_earlier_one_sent_has_spent_nothing(
    emulator, tmp_path, until
):
    prices = {ECHO: Price(0.1, "job")}
    await leave_at_once(emulator, echoes(3), tmp_path, until, prices=prices)
    _, summary = await run(emulator, None, tmp_path)
    assert (summary.this_run.rows, emulator.stats().jobs) == (3, 3)
    assert summary.spent_usd == pytest.approx(0.3)
    assert summary.this_run.spent_usd == pytest.approx(0.0)


async def test_progress_counts_every_row_in_one_place_and_the_failures_of_earlier_runs(
    emulator, tmp_path
):
    rows = [{"prompt": "bad", "num_inference_steps": 999}, *({"prompt": str(n)} for n in range(9))]
    await run(emulator, rows[:2], tmp_path, endpoint=FLUX)
    told = []
    await run(emulator, rows, tmp_path, endpoint=FLUX, on_progress=told.append)
    for now in told:
        assert now.waiting + now.queued + now.running + now.saving + now.done == 10
    assert (told[-1].done, told[-1].failed, told[-1].before) == (10, 1, 2)


async def test_files_of_a_resumed_batch_are_called_as_before(emulator, tmp_path):
    rows = [{"prompt": "a cat"}, {"prompt": "a dog"}]
    name = {"name_template": "{id}/picture.{ext}"}
    await run(emulator, rows[:1], tmp_path, endpoint=FLUX, **name)
    outcomes, _ = await run(emulator, rows, tmp_path, endpoint=FLUX)
    assert [outcome.files[0].name for outcome in outcomes] == ["media/row-000002/picture.jpeg"]


async def test_rows_that_were_not_sent_are_told_and_count_as_left(emulator, tmp_path):
    nowhere = evolve(emulator.gateway, queue_url="http://127.0.0.1:9")
    settings = {"gateway": nowhere, "retry": RetrySettings(submit_attempts=1)}
    outcomes, summary = await run(emulator, echoes(3), tmp_path, **settings)
    assert [outcome.is_unsent for outcome in outcomes] == [True] * 3
    assert {outcome.error["kind"] for outcome in outcomes} == {"ConnectError"}
    assert (summary.left, summary.failed, summary.this_run.rows) == (3, 0, 0)
    assert read_lines(tmp_path) == []


async def pictures(emulator: Emulator, out: Path) -> list[Path]:
    rows = [{"prompt": f"cat {number}"} for number in range(4)]
    await run(emulator, rows, out, endpoint=FLUX)
    return sorted((out / "media").glob("[!.]*"))


async def refetch(out: Path) -> Refetched:
    async with SqliteJournal(out / "journal.sqlite") as journal:
        return await refetch_files(journal, out, allow_loopback=True)


async def test_a_file_that_is_gone_is_fetched_again_without_a_submit(emulator, tmp_path):
    first, *_ = await pictures(emulator, tmp_path)
    data, before = first.read_bytes(), read_lines(tmp_path)
    first.unlink()
    done = await refetch(tmp_path)
    assert (done.files, done.file_bytes, done.failures) == (1, len(data), 0)
    assert first.read_bytes() == data
    assert sorted(ids(read_lines(tmp_path))) == sorted(ids(before))
    assert emulator.stats().submits == 4
    assert (await refetch(tmp_path)).files == 0


async def test_a_file_that_was_changed_stays_and_the_new_one_has_a_name_of_its_own(
    emulator, tmp_path
):
    first, *_ = await pictures(emulator, tmp_path)
    data = first.read_bytes()
    first.write_bytes(bytes(reversed(data)))
    assert (await refetch(tmp_path)).files == 1
    assert first.read_bytes() == bytes(reversed(data))
    lines = {line["id"]: line for line in read_lines(tmp_path)}
    name = lines["row-000001"]["files"][0]["name"]
    assert name != f"media/{first.name}"
    assert (tmp_path / name).read_bytes() == data


async def test_a_file_that_its_storage_no_longer_has_is_named_and_looked_for_again(
    emulator, tmp_path
):
    first, *_ = await pictures(emulator, tmp_path)
    first.unlink()
    await emulator.aclose()
    done = await refetch(tmp_path)
    assert (done.files, done.failures) == (0, 1)
    assert "row-000001" in done.problems[0]
    assert (await refetch(tmp_path)).failures == 1


PRIVATE = Scenario(speed=1000.0, faults=(Fault("json_error", "submit", nth=2, status_code=403),))


@pytest.mark.parametrize("scenario", [PRIVATE])
async def test_an_endpoint_that_one_may_not_use_fails_its_rows_and_no_others(emulator, tmp_path):
    outcomes, summary = await run(emulator, echoes(4), tmp_path, max_jobs=1)
    assert (summary.succeeded, summary.failed) == (3, 1)
    (failed,) = [outcome for outcome in outcomes if not outcome.is_success]
    assert failed.error["status_code"] == 403
