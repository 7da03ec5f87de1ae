"""Batches whose rows name files that are too large to go inside a request."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import falq
from falq.batch import Batch, BatchSummary, Manifest, RowOutcome
from falq.emulator import Emulator, Fault, Scenario
from falq.errors import ArgumentError, JournalConflictError
from falq.journal import RecordState, SqliteJournal

pytestmark = pytest.mark.slow

ECHO = "acme/echo"
LIMIT_BYTES = 100
FAST = Scenario(speed=1000.0, runners=50)


@pytest.fixture
def scenario() -> Scenario:
    """How the emulator behaves; tests override it."""
    return FAST


@pytest.fixture
async def emulator(scenario: Scenario) -> AsyncIterator[Emulator]:
    async with Emulator(scenario) as emulator:
        yield emulator


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "small.txt").write_bytes(b"s" * 10)
    (tmp_path / "large.txt").write_bytes(b"l" * 200)
    return tmp_path


def manifest_of(folder: Path, *rows: dict[str, Any], **settings: Any) -> Manifest:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"arguments": row}) + "\n" for row in rows))
    return Manifest(path, endpoint=ECHO, file_limit_bytes=LIMIT_BYTES, **settings)


async def run(
    emulator: Emulator, rows: Manifest | None, out: Path | None, **settings: Any
) -> tuple[list[RowOutcome], BatchSummary]:
    quick_polls = falq.PollSettings(initial_s=0.02)
    settings = {"gateway": emulator.gateway, "poll": quick_polls} | settings
    async with Batch(rows, out=out, **settings) as batch:
        outcomes = [outcome async for outcome in batch]
        return outcomes, await batch.summary()


async def read_back(emulator: Emulator, url: str, folder: Path) -> bytes:
    async with falq.Session(emulator.gateway) as session:
        (file,) = await session.download({"url": url}, folder, allow_loopback=True)
    return file.path.read_bytes()


@pytest.mark.parametrize("with_journal", [True, False])
async def test_a_large_file_is_uploaded_and_its_url_is_sent(emulator, folder, with_journal):
    rows = manifest_of(folder, {"a@": "large.txt", "b@": "small.txt"})
    out = folder / "out" if with_journal else None
    (outcome,), _ = await run(emulator, rows, out)
    assert outcome.result["b"].startswith("data:text/plain;base64,")
    assert await read_back(emulator, outcome.result["a"], folder / "back") == b"l" * 200
    seen = emulator.stats()
    assert (seen.uploads, seen.keys_at_storage) == (1, 0)


async def test_files_of_one_content_are_uploaded_once(emulator, folder):
    (folder / "same.txt").write_bytes(b"l" * 200)
    names = ["large.txt", "same.txt"] * 10
    rows = [{"n": number, "a@": name} for number, name in enumerate(names)]
    outcomes, summary = await run(emulator, manifest_of(folder, *rows), folder / "out")
    assert summary.is_complete
    assert len({outcome.result["a"] for outcome in outcomes}) == 1
    assert emulator.stats().uploads == 1


async def test_every_file_is_uploaded_if_that_is_asked_for(emulator, folder):
    rows = manifest_of(folder, {"a@": ["large.txt", "small.txt"]}, upload="always")
    (outcome,), _ = await run(emulator, rows, folder / "out")
    assert all(url.startswith("http") for url in outcome.result["a"])
    assert emulator.stats().uploads == 2


async def test_a_time_limit_is_told_to_the_server_for_a_row_with_a_file_too(emulator, folder):
    (outcome,), summary = await run(
        emulator, manifest_of(folder, {"a@": "large.txt"}), folder / "out", timeout=30.0
    )
    assert (outcome.status, summary.is_complete) == ("succeeded", True)


async def test_a_gateway_without_uploads_refuses_the_row_at_planning(emulator, folder):
    gateway = falq.Maton(key="m" * 8, base_url=emulator.url)
    rows = manifest_of(folder, {"a@": "small.txt"}, {"a@": "large.txt"})
    with pytest.raises(ArgumentError, match=f"200 bytes; {LIMIT_BYTES} is the most .* no uploads"):
        await run(emulator, rows, folder / "out", gateway=gateway)
    assert emulator.stats().jobs == 0


async def change_before_it_is_sent(emulator: Emulator, folder: Path, data: bytes) -> BatchSummary:
    rows = manifest_of(folder, {"a@": "large.txt"})
    async with Batch(rows, gateway=emulator.gateway, out=folder / "out") as batch:
        before = (folder / "large.txt").stat()
        (folder / "large.txt").write_bytes(data)
        assert before.st_size in {200, len(data)}
        (outcome,) = [outcome async for outcome in batch]
        assert outcome.is_unsent
        assert "changed" in outcome.error["message"]
        return await batch.summary()


@pytest.mark.parametrize("data", [b"m" * 200, b"m" * 300])
async def test_a_file_that_changed_since_it_was_planned_is_never_sent(emulator, folder, data):
    summary = await change_before_it_is_sent(emulator, folder, data)
    assert summary.left == 1
    seen = emulator.stats()
    assert (seen.jobs, seen.uploads, seen.uploaded_bytes) == (0, 0, 0)


async def test_a_row_whose_file_has_other_content_than_before_is_told(emulator, folder):
    await run(emulator, manifest_of(folder, {"a@": "large.txt"}), folder / "out")
    (folder / "large.txt").write_bytes(b"m" * 200)
    with pytest.raises(JournalConflictError, match="row-000001"):
        await run(emulator, manifest_of(folder, {"a@": "large.txt"}), folder / "out")
    assert emulator.stats().jobs == 1


async def test_the_same_batch_again_uploads_nothing(emulator, folder):
    for _ in range(2):
        _, summary = await run(emulator, manifest_of(folder, {"a@": "large.txt"}), folder / "out")
        assert summary.is_complete
    assert (emulator.stats().jobs, emulator.stats().uploads) == (1, 1)


LOST = Scenario(
    speed=1000.0, history_lists_queued=True, faults=(Fault("reset", "submit", when="after"),)
)


@pytest.mark.parametrize("scenario", [LOST])
async def test_a_lost_submit_is_found_by_the_url_that_was_sent(emulator, folder):
    rows = manifest_of(folder, {"a@": "large.txt"})
    (outcome,), summary = await run(emulator, rows, folder / "out", settle_s=5.0)
    assert (outcome.status, summary.is_complete) == ("succeeded", True)
    assert (emulator.stats().jobs, emulator.stats().uploads) == (1, 1)
    async with SqliteJournal(folder / "out" / "journal.sqlite") as journal:
        record = await journal.load_job(number=1)
    assert record is not None
    assert record.sent_sha256 not in {None, record.input_sha256}


LOST_FOR_NOW = Scenario(
    speed=1000.0,
    history_lists_queued=True,
    faults=(
        Fault("reset", "submit", when="after"),
        Fault("json_error", "history", nth=1, status_code=403),
    ),
)


@pytest.mark.parametrize("scenario", [LOST_FOR_NOW])
async def test_a_submit_that_an_earlier_run_lost_is_found_by_the_url_that_it_sent(emulator, folder):
    rows = manifest_of(folder, {"a@": "large.txt"})
    (outcome,), _ = await run(emulator, rows, folder / "out")
    assert outcome.status == "unknown"
    (outcome,), summary = await run(
        emulator, None, folder / "out", settle_s=5.0, on_unknown="resubmit"
    )
    assert (outcome.status, summary.is_complete) == ("succeeded", True)
    assert (emulator.stats().jobs, emulator.stats().uploads) == (1, 1)


NEVER_MADE = Scenario(
    speed=1000.0,
    history_lists_queued=True,
    faults=(Fault("reset", "submit", nth=1, when="before"),),
)


@pytest.mark.parametrize("scenario", [NEVER_MADE])
async def test_a_submit_that_was_lost_for_good_is_sent_again_by_the_next_run_with_its_file(
    emulator, folder
):
    rows = manifest_of(folder, {"a@": "large.txt", "b@": "small.txt"})
    (outcome,), _ = await run(emulator, rows, folder / "out", settle_s=0.0)
    assert outcome.status == "unknown"
    (outcome,), summary = await run(
        emulator, None, folder / "out", settle_s=0.0, on_unknown="resubmit"
    )
    assert (outcome.status, summary.is_complete) == ("succeeded", True)
    assert outcome.result["b"].startswith("data:")
    assert await read_back(emulator, outcome.result["a"], folder / "back") == b"l" * 200
    assert emulator.stats().jobs == 1


@pytest.mark.parametrize("scenario", [NEVER_MADE])
async def test_a_submit_that_was_lost_for_good_is_sent_again_by_the_same_run_with_its_file(
    emulator, folder
):
    rows = manifest_of(folder, {"a@": "large.txt"})
    (outcome,), _ = await run(emulator, rows, folder / "out", settle_s=0.0, on_unknown="resubmit")
    assert outcome.status == "succeeded"
    assert (emulator.stats().jobs, emulator.stats().uploads) == (1, 1)


@pytest.mark.parametrize("scenario", [NEVER_MADE])
async def test_a_session_that_recovers_a_batch_never_sends_the_name_of_a_file(emulator, folder):
    rows = manifest_of(folder, {"a@": "large.txt"})
    await run(emulator, rows, folder / "out", settle_s=0.0)
    path = folder / "out" / "journal.sqlite"
    async with falq.Session(
        emulator.gateway, journal=path, delivery="reconcile", on_unknown="resubmit", settle_s=0.0
    ) as session:
        (handle,) = await session.recover()
        with pytest.raises(ArgumentError, match="falq resume"):
            await handle.result()
    assert emulator.stats().jobs == 0
    async with SqliteJournal(path) as journal:
        record = await journal.load_job(number=1)
    assert record is not None
    # Nobody learned what became of the submit that was lost, and none followed it.
    assert record.state is RecordState.UNKNOWN


REFUSES_FILES = Scenario(
    speed=1000.0, faults=(Fault("nginx", "upload", times=5), Fault("nginx", "upload_initiate"))
)


@pytest.mark.parametrize("scenario", [REFUSES_FILES])
async def test_a_row_whose_file_could_not_be_uploaded_is_left_for_the_next_run(emulator, folder):
    rows = manifest_of(folder, {"a@": "large.txt"})
    hasty = falq.RetrySettings(base_s=0.001, cap_s=0.001)
    (outcome,), summary = await run(emulator, rows, folder / "out", retry=hasty)
    assert (outcome.is_unsent, summary.left) == (True, 1)
    _, summary = await run(emulator, None, folder / "out", retry=hasty)
    assert summary.is_complete
    assert (emulator.stats().jobs, emulator.stats().uploads) == (1, 1)


SLOW_UPLOADS = Scenario(speed=1000.0, faults=(Fault("stall", "upload"),))


@pytest.mark.parametrize("scenario", [SLOW_UPLOADS])
async def test_a_batch_that_is_stopped_waits_for_no_upload(emulator, folder, until):
    rows = manifest_of(folder, {"a@": "large.txt"})
    async with Batch(rows, gateway=emulator.gateway, out=folder / "out") as batch:
        following = asyncio.create_task(anext(batch, None))
        await until(lambda: emulator.stats().calls.get("upload"))
        batch.stop()
        assert await following is None
        assert (await batch.summary()).left == 1
    assert emulator.stats().jobs == 0


@pytest.mark.parametrize("scenario", [SLOW_UPLOADS])
async def test_a_time_limit_holds_for_an_upload_too(emulator, folder):
    rows = manifest_of(folder, {"a@": "large.txt"})
    (outcome,), _ = await run(emulator, rows, folder / "out", timeout=0.5)
    assert (outcome.status, emulator.stats().jobs) == ("timed_out", 0)
    assert "before the job was submitted; nothing was spent" in outcome.error["message"]


ROWS = 40
KILLS = 10

SCRIPT = """
import asyncio, sys
from falq.batch import Batch, Manifest
from falq.gateways import Fal

async def main(url, key, manifest, out):
    gateway = Fal(
        key=key, queue_url=url, rest_url=f"{url}/_rest", cdn_url=f"{url}/_cdn",
        api_url=f"{url}/_platform",
    )
    batch = Batch(
        Manifest(manifest, endpoint="acme/echo", file_limit_bytes=100),
        gateway=gateway,
        out=out,
        max_jobs=8,
        # The emulator's history lists a request at once: what it lacks was never made.
        on_unknown="resubmit",
        settle_s=0.5,
    )
    async with batch:
        async for outcome in batch:
            pass
        print((await batch.summary()).is_complete)

asyncio.run(main(*sys.argv[1:]))
"""

KILLED = Scenario(run_s=0.05, runners=20, latency_s=0.01, history_lists_queued=True)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("scenario", [KILLED])
async def test_a_killed_batch_with_large_files_ends_whole_and_pays_once(
    start_script, until, emulator, folder
):
    rows = []
    for number in range(ROWS):
        (folder / f"{number}.txt").write_bytes(b"%03d" % number * 100)
        rows.append({"n": number, "a@": f"{number}.txt"})
    manifest_of(folder, *rows)
    out = folder / "out"
    words = (emulator.url, emulator.key, str(folder / "rows.jsonl"), str(out))
    chance = random.Random(7)
    for turn in range(KILLS):
        running = await start_script(SCRIPT, *words)
        before = emulator.stats()
        # By turns in the middle of the submits and in the middle of the uploads.
        count = chance.randint(1, ROWS // KILLS)
        if turn % 2:
            reached = min(before.jobs + count, ROWS - 1)
            await until(lambda reached=reached: emulator.stats().jobs >= reached)
        else:
            seen = before.uploads + count
            await until(
                lambda seen=seen: (
                    emulator.stats().uploads >= seen or emulator.stats().jobs >= ROWS - 1
                )
            )
        running.interrupt(signal.SIGKILL)
        await running.ended()
    ran = await (await start_script(SCRIPT, *words)).ended()
    assert ran.out.strip() == "True", ran.err
    assert emulator.stats().jobs == ROWS
    text = await asyncio.to_thread((out / "results.jsonl").read_bytes)
    lines = [json.loads(line) for line in text.splitlines()]
    assert sorted(line["result"]["n"] for line in lines) == list(range(ROWS))
    assert len({line["result"]["a"] for line in lines}) == ROWS
