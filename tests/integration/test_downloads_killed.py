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
FILE_BYTES = 1_000_000
PIECE_BYTES = 4096
CHECKPOINT_BYTES = 16_384
SEED = 20261121

# Each script is the parent of the processes that are killed: one import serves them all.
# A kill comes after so many bytes, because a busy machine brings them in few large pieces,
# and the last process, which is not killed, ends no more than what the others began.
SCRIPT = """
import asyncio, hashlib, json, os, random, signal, sys
from falq._core.backoff import Backoff
from falq.media import Downloader, DownloadLimits, MediaRef

base, folder, kills, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
told, tell = os.pipe()
chance = random.Random(seed)
names = [f"file-{seed}-{number}" for number in range(1000)]

def is_there(name):
    return os.path.exists(f"{folder}/{name}.bin")

def held_bytes(name):
    key = hashlib.sha256(f"{base}/{name}.bin".encode()).hexdigest()[:32]
    part = f"{folder}/.falq-{key}.part"
    return os.path.getsize(f"{folder}/{name}.bin" if is_there(name) else part)

async def fetch_all(names, stop_after_bytes):
    heard = {}
    def hear(progress):
        heard[progress.ref.url.split("/")[-1].removesuffix(".bin")] = progress.received_bytes
        if media.statistics().received_bytes >= stop_after_bytes:
            os.write(tell, json.dumps(heard).encode())
            os.kill(os.getpid(), signal.SIGKILL)
    limits = DownloadLimits(checkpoint_bytes=16_384)
    async with Downloader(
        folder, allow_loopback=True, limits=limits, on_progress=hear, if_taken="same",
        backoff=Backoff(base_s=0.001, cap_s=0.001), name_template="{id}.{ext}", most_at_once=4,
    ) as media:
        async def fetch(name):
            if not is_there(name):
                ref = MediaRef(url=f"{base}/{name}.bin")
                await media.fetch_one(ref, values={"id": name})
        await asyncio.gather(*map(fetch, names))

lost_bytes, is_done = [], False
while not is_done:
    stop_after_bytes = chance.randrange(12_000, 120_000)
    if len(lost_bytes) == kills:
        names, stop_after_bytes = names[: sum(map(is_there, names)) + 4], sys.maxsize
    pid = os.fork()
    if pid == 0:
        asyncio.run(fetch_all(names, stop_after_bytes))
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    is_done = not os.WIFSIGNALED(status)
    if not is_done:
        heard = json.loads(os.read(told, 65536))
        lost_bytes.append(max(size - held_bytes(name) for name, size in heard.items()))
print(json.dumps({"lost_bytes": lost_bytes, "last": status, "names": names}))
"""


def content_of(name: str) -> bytes:
    return Random(name).randbytes(FILE_BYTES)


class DrippingStorage:
    """Serves any name, heeds ranges, and sends in pieces."""

    def __init__(self, raw_server: Any) -> None:
        self.server = raw_server(self._serve)
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
            connection.send(body[start : start + PIECE_BYTES])
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
        runs = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, str(tmp_path / "run.py"), storage.server.url, str(out)),
                *(str(KILLS // RUNNERS), str(SEED + number)),
                stdout=asyncio.subprocess.PIPE,
            )
            for number in range(RUNNERS)
        ]
        said = [json.loads((await run.communicate())[0]) for run in runs]
    assert [one["last"] for one in said] == [0] * RUNNERS
    names = [name for one in said for name in one["names"]]
    saved = list(out.glob("*.bin"))
    assert [path.name for path in saved if path.read_bytes() != content_of(path.stem)] == []
    lost_bytes = [lost for one in said for lost in one["lost_bytes"]]
    assert len(lost_bytes) == KILLS
    assert sorted(path.stem for path in saved) == sorted(names)
    assert [path.name for path in out.iterdir() if path.suffix == ".part"] == []
    assert storage.resumed > KILLS // 4
    # Of what a hook has heard of a file, only what was not written yet is lost. What
    # the sockets held as well is the kernel's, and more on a busy machine.
    assert max(lost_bytes) < CHECKPOINT_BYTES
