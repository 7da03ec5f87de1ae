"""Downloads in processes that are killed: no short file, and little fetched twice."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

KILLS = 200
RUNNERS = 4
FILES = 450
FILE_BYTES = 1_000_000
PIECE_BYTES = 4096
CHECKPOINT_BYTES = 16_384
SOCKET_BYTES = 120_000
SEED = 20261121

# Each script is the parent of the processes that are killed: one import serves them all.
SCRIPT = """
import asyncio, json, os, random, signal, sys
from falq._core.backoff import Backoff
from falq.media import Downloader, DownloadLimits, MediaRef

base, folder, kills, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
chance = random.Random(seed)
names = json.loads(sys.argv[5])

async def fetch_all(stop_after):
    heard = 0
    def hear(progress):
        nonlocal heard
        heard += 1
        if heard == stop_after:
            os.kill(os.getpid(), signal.SIGKILL)
    limits = DownloadLimits(checkpoint_bytes=16_384)
    async with Downloader(
        folder, allow_loopback=True, limits=limits, on_progress=hear, if_taken="same",
        backoff=Backoff(base_s=0.001, cap_s=0.001), name_template="{id}.{ext}", most_at_once=4,
    ) as media:
        async def fetch(name):
            if not os.path.exists(f"{folder}/{name}.bin"):
                ref = MediaRef(url=f"{base}/{name}.bin")
                await media.fetch_one(ref, values={"id": name})
        await asyncio.gather(*map(fetch, names))

killed, is_done = 0, False
while not is_done:
    stop_after = None if killed == kills else chance.randrange(3, 30)
    pid = os.fork()
    if pid == 0:
        asyncio.run(fetch_all(stop_after))
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    is_killed = os.WIFSIGNALED(status)
    killed += is_killed
    is_done = not is_killed
print(json.dumps({"killed": killed, "last": status}))
"""


def content_of(name: str) -> bytes:
    return Random(name).randbytes(FILE_BYTES)


class DrippingStorage:
    """Serves any name, heeds ranges, sends in pieces, and counts what it sent."""

    def __init__(self, raw_server: Any) -> None:
        self.server = raw_server(self._serve)
        self.sent_bytes = 0
        self.resumed = 0

    async def _serve(self, connection: Any) -> None:
        while request := await connection.read_request():
            lines = request.decode().split("\r\n")
            name = lines[0].split(" ")[1].strip("/").removesuffix(".bin")
            asked = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
            body = content_of(name)
            tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
            is_rest = asked.get("if-range") == tag
            start = int(asked["range"][6:-1]) if is_rest else 0
            self.resumed += start > 0
            span = f"bytes {start}-{len(body) - 1}/{len(body)}"
            headers = {"etag": tag} | ({"content-range": span} if is_rest else {})
            await self._drip(connection, body[start:], 206 if is_rest else 200, headers)

    async def _drip(self, connection: Any, body: bytes, code: int, headers: Any) -> None:
        connection.answer(b"", code=code, headers=headers | {"content-length": str(len(body))})
        for start in range(0, len(body), PIECE_BYTES):
            if connection.writer.is_closing():
                return
            piece = body[start : start + PIECE_BYTES]
            connection.send(piece)
            self.sent_bytes += len(piece)
            await connection.writer.drain()
            await asyncio.sleep(0)


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_two_hundred_kills_leave_no_short_file_and_lose_little(
    raw_server: Any, tmp_path: Path
) -> None:
    storage = DrippingStorage(raw_server)
    out = tmp_path / "out"
    (tmp_path / "run.py").write_text(SCRIPT)
    async with storage.server:
        names = [f"file-{number}" for number in range(FILES)]
        killed = 0
        shares = [names[number::RUNNERS] for number in range(RUNNERS)]
        runs = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, str(tmp_path / "run.py"), storage.server.url, str(out)),
                *(str(KILLS // RUNNERS), str(SEED + number), json.dumps(share)),
                stdout=asyncio.subprocess.PIPE,
            )
            for number, share in enumerate(shares)
        ]
        for run in runs:
            told, _ = await run.communicate()
            said = json.loads(told)
            killed += said["killed"]
            assert said["last"] == 0
    saved = list(out.glob("*.bin"))
    assert [path.name for path in saved if path.read_bytes() != content_of(path.stem)] == []
    assert killed == KILLS
    assert sorted(path.stem for path in saved) == sorted(names)
    assert [path.name for path in out.iterdir() if path.suffix == ".part"] == []
    assert storage.resumed > killed // 4
    # A kill cuts up to four files: each loses what was not written yet, and what
    # the two sockets held.
    spare_bytes = storage.sent_bytes - FILE_BYTES * len(names)
    assert spare_bytes <= killed * 4 * (CHECKPOINT_BYTES + SOCKET_BYTES)
