"""Downloads that break, go on, change under way, or do not fit."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from falq._core.backoff import Backoff
from falq.emulator import Emulator, Fault, Scenario
from falq.errors import ApiError, ResponseTooLargeError, TransportError, TransportTimeoutError
from falq.media import Downloader, DownloadLimits, DownloadProgress

AT_ONCE = Backoff(base_s=1e-4, cap_s=1e-4)
BODY = Random(7).randbytes(300_000)
SMALL_STEPS = DownloadLimits(checkpoint_bytes=10_000)
TAG = '"v1"'


class Storage:
    """A host of one file that heeds ranges, breaks when told, and remembers what it was asked."""

    def __init__(self, raw_server: Any) -> None:
        self.server = raw_server(self._serve)
        self.body = BODY
        self.tag: str | None = TAG
        self.has_ranges = True
        # How many bytes of each answer are sent before it breaks, in order.
        self.cuts: list[int] = []
        self.starts: list[int] = []
        self.sent_bytes = 0
        self.stalls = False

    @property
    def result(self) -> dict[str, Any]:
        return {"image": {"url": f"{self.server.url}/a.bin"}}

    async def _serve(self, connection: Any) -> None:
        while request := await connection.read_request():
            lines = request.decode().lower().split("\r\n")
            asked = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
            is_rest = "range" in asked and asked.get("if-range") == self.tag and self.has_ranges
            start = int(asked["range"][6:-1]) if is_rest else 0
            self.starts.append(start)
            await self._answer(connection, start, is_rest=is_rest)

    async def _answer(self, connection: Any, start: int, *, is_rest: bool) -> None:
        rest = self.body[start:]
        head = f"HTTP/1.1 {206 if is_rest else 200} Whatever\r\ncontent-length: {len(rest)}\r\n"
        if self.tag:
            head += f"etag: {self.tag}\r\n"
        if is_rest:
            head += f"content-range: bytes {start}-{len(self.body) - 1}/{len(self.body)}\r\n"
        cut = self.cuts.pop(0) if self.cuts else None
        connection.send(head.encode() + b"\r\n" + rest[:cut])
        self.sent_bytes += len(rest[:cut])
        await connection.writer.drain()
        if cut is None:
            return
        if self.stalls:
            await connection.wait_gone()
        connection.writer.close()


@pytest.fixture
async def storage(raw_server: Any) -> AsyncIterator[Storage]:
    made = Storage(raw_server)
    async with made.server:
        yield made


@pytest.fixture
def downloader(tmp_path: Path) -> Callable[..., Downloader]:
    def make(**options: Any) -> Downloader:
        settings = {"allow_loopback": True, "backoff": AT_ONCE, "limits": SMALL_STEPS} | options
        return Downloader(tmp_path / "out", **settings)

    return make


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_body_that_breaks_goes_on_where_it_broke(storage, downloader):
    storage.cuts = [1, 100_000, 0, 50_000]
    async with downloader() as media:
        [file] = await media.fetch(storage.result)
        counts = media.statistics()
    assert file.path.read_bytes() == BODY
    assert storage.starts == [0, 1, 100_001, 100_001, 150_001]
    assert storage.sent_bytes == len(BODY) == counts.received_bytes
    assert (counts.files, counts.retries, counts.in_flight) == (1, 4, 0)


async def test_attempts_that_bring_something_are_not_counted(storage, downloader):
    storage.cuts = [10_000] * 20
    async with downloader() as media:
        [file] = await media.fetch(storage.result)
    assert file.path.read_bytes() == BODY


async def test_five_attempts_that_bring_nothing_are_the_end(storage, downloader, tmp_path):
    storage.cuts = [1000, 0, 0, 0, 0, 0, 0, 0]
    async with downloader() as media:
        with pytest.raises(TransportError):
            await media.fetch(storage.result)
    assert len(storage.starts) == 6
    assert all(name.startswith(".falq-") for name in names_in(tmp_path / "out"))


@pytest.mark.parametrize("size", [1000, 100_000])
async def test_a_later_run_goes_on_with_what_an_earlier_one_left(
    storage, downloader, tmp_path, size
):
    storage.cuts = [size, *[0] * 5]
    async with downloader() as media:
        with pytest.raises(TransportError):
            await media.fetch(storage.result)
    async with downloader() as media:
        [file] = await media.fetch(storage.result)
        assert media.statistics().resumed_bytes == size
    assert file.path.read_bytes() == BODY
    assert storage.starts[-1] == size
    assert names_in(tmp_path / "out") == ["a.bin"]


async def test_a_file_that_changed_is_fetched_from_the_start(storage, downloader):
    storage.cuts = [100_000, *[0] * 5]
    async with downloader() as media:
        with pytest.raises(TransportError):
            await media.fetch(storage.result)
        storage.body, storage.tag = BODY[::-1][:250_000], '"v2"'
        [file] = await media.fetch(storage.result)
    assert file.path.read_bytes() == BODY[::-1][:250_000]
    assert storage.starts[-1] == 0


@pytest.mark.parametrize("tag", [TAG, None, 'W/"weak"'])
async def test_a_host_that_cannot_go_on_sends_the_whole_again(storage, downloader, tag):
    storage.tag, storage.has_ranges, storage.cuts = tag, False, [100_000, 200_000]
    async with downloader() as media:
        [file] = await media.fetch(storage.result)
    assert file.path.read_bytes() == BODY
    assert storage.starts == [0, 0, 0]


async def test_a_host_that_always_breaks_at_the_same_place_is_given_up(storage, downloader):
    storage.has_ranges, storage.cuts = False, [100_000] * 20
    async with downloader() as media:
        with pytest.raises(TransportError):
            await media.fetch(storage.result)
    assert len(storage.starts) == 6


async def test_a_cancelled_download_leaves_a_part_that_can_go_on(storage, downloader, tmp_path):
    storage.cuts, storage.stalls = [100_000], True
    heard = asyncio.Event()

    def hear(progress: DownloadProgress) -> None:
        if progress.received_bytes == 100_000:
            heard.set()

    async with downloader(on_progress=hear) as media:
        task = asyncio.ensure_future(media.fetch(storage.result))
        await heard.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert all(name.startswith(".falq-") for name in names_in(tmp_path / "out"))
        [file] = await media.fetch(storage.result)
    assert file.path.read_bytes() == BODY
    assert storage.sent_bytes == len(BODY)


async def test_progress_tells_bytes_and_total(storage, downloader):
    told: list[DownloadProgress] = []
    storage.cuts = [100_000]
    async with downloader(on_progress=told.append) as media:
        await media.fetch(storage.result)
    sizes = [one.received_bytes for one in told]
    assert sizes == sorted(sizes)
    assert sizes[-1] == len(BODY)
    assert {one.total_bytes for one in told} == {len(BODY)}
    assert {one.attempt for one in told} == {1, 2}


async def test_a_host_that_stalls_or_crawls_is_left(storage, downloader):
    storage.cuts, storage.stalls = [100_000], True
    async with downloader(limits=DownloadLimits(read_s=0.02)) as media:
        [file] = await media.fetch(storage.result)
    assert file.path.read_bytes() == BODY
    storage.cuts = [0, 0, 0]
    limits = DownloadLimits(total_s=0.02)
    async with downloader(limits=limits) as media:
        with pytest.raises(TransportTimeoutError, match=r"0\.02 s"):
            await media.fetch(storage.result)


async def test_a_pace_below_the_floor_ends_an_attempt(downloader):
    drip = Fault("drip", "file", delay_s=0.001, piece_bytes=10, times=1)
    limits = DownloadLimits(floor_s=0.02, floor_bytes_per_s=1e6)
    async with Emulator(scenario=Scenario(faults=(drip,))) as emulator:
        url = promise(emulator, b"x" * 5000)
        async with downloader(limits=limits) as media:
            [file] = await media.fetch({"image": {"url": url}})
            assert media.statistics().retries == 1
    assert file.size_bytes == 5000


def promise(emulator: Emulator, data: bytes) -> str:
    app = emulator._app
    assert app is not None
    return app.files.add(name="a.bin", content_type="application/octet-stream", draw=lambda: data)


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(faults=(Fault("cut", "file", missing_bytes=1000, times=3),)),
        Scenario(faults=(Fault("reset", "file", times=4),)),
        Scenario(faults=(Fault("nginx", "file", times=4),)),
        Scenario(has_changing_files=True, faults=(Fault("cut", "file", nth=(1,)),)),
        Scenario(has_file_ranges=False, faults=(Fault("cut", "file", nth=(1,)),)),
    ],
    ids=["cut", "reset", "502", "another version", "no ranges"],
)
async def test_faults_of_a_host_are_survived(downloader, scenario):
    async with Emulator(scenario=scenario) as emulator, downloader() as media:
        [file] = await media.fetch({"image": {"url": promise(emulator, BODY)}})
    assert file.path.read_bytes() == BODY


async def test_the_files_of_a_run_have_one_limit(storage, downloader):
    limits = DownloadLimits(run_bytes=len(BODY) + 1)
    async with downloader(limits=limits) as media:
        await media.fetch(storage.result)
        with pytest.raises(ResponseTooLargeError, match="run_bytes"):
            await media.fetch(storage.result)


async def test_a_disk_without_room_is_told_before_the_first_byte(storage, downloader, tmp_path):
    limits = DownloadLimits(keep_free_bytes=2**60)
    async with downloader(limits=limits) as media:
        with pytest.raises(OSError, match="free some and run again"):
            await media.fetch(storage.result)
    assert names_in(tmp_path / "out") == []


@pytest.fixture
def small_files() -> Any:
    """No file of this process may grow beyond 100,000 bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


async def test_a_disk_that_fills_up_keeps_what_arrived(storage, downloader, tmp_path, small_files):
    async with downloader() as media:
        with pytest.raises(OSError, match="what arrived is kept"):
            await media.fetch(storage.result)
        assert all(name.startswith(".falq-") for name in names_in(tmp_path / "out"))
        small_files()
        [file] = await media.fetch(storage.result)
    assert file.path.read_bytes() == BODY
    assert storage.starts == [0, 100_000]


async def test_what_is_gone_is_asked_for_once(downloader, tmp_path):
    async with Emulator() as emulator, downloader() as media:
        with pytest.raises(ApiError):
            await media.fetch({"image": {"url": f"{emulator.url}/files/none"}})
        assert emulator.stats().calls["file"] == 1
    assert names_in(tmp_path / "out") == []


async def test_many_tasks_share_a_downloader_and_no_more_are_under_way_than_allowed(
    downloader, tmp_path
):
    async with Emulator() as emulator:
        refs = [{"image": {"url": promise(emulator, b"%d" % number)}} for number in range(60)]
        busiest = 0

        def hear(_: DownloadProgress) -> None:
            nonlocal busiest
            busiest = max(busiest, media.statistics().in_flight)

        async with downloader(
            most_at_once=4, on_progress=hear, name_template="{id}/{index}"
        ) as media:
            fetched = await asyncio.gather(
                *(media.fetch(ref, values={"id": n}) for n, ref in enumerate(refs))
            )
    assert [file.path.read_bytes() for [file] in fetched] == [b"%d" % n for n in range(60)]
    assert {file.path.relative_to(tmp_path / "out").as_posix() for [file] in fetched} == {
        f"{number}/0.bin" for number in range(60)
    }
    assert 1 <= busiest <= 4


async def test_a_storage_host_never_hears_of_key_or_cookie(storage, downloader, monkeypatch):
    for name in ("FAL_KEY", "MATON_API_KEY", "HTTP_PROXY", "NETRC"):
        monkeypatch.setenv(name, "canary")
    storage.cuts = [1000]
    async with downloader() as media:
        await media.fetch(storage.result)
    heard = storage.server.heard.lower()
    assert b"range: bytes=1000-" in heard
    for word in (b"canary", b"authorization", b"cookie", b"referer", b"x-fal"):
        assert word not in heard
