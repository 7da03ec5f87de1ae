"""The emulator on real sockets, seen by a client that knows no HTTP library."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import sys
import zlib

import pytest
from attrs import frozen

from falq.emulator import Emulator, Fault, Scenario
from falq.emulator.models.base import Answer, FileShelf

GUARD_S = 10.0


@pytest.fixture
def anyio_backend():
    """Sockets are real here: a virtual clock would run ahead of them."""
    return "asyncio"


@frozen
class Runner:
    """Ends at once; leaves a file behind if it is asked for one."""

    def run_time_s(self, arguments: object, *, draw: float) -> float:
        return arguments.get("run_s", 0.0) if isinstance(arguments, dict) else 0.0

    def logs(self, arguments: object) -> tuple[str, ...]:
        return ("working",)

    def run(self, arguments: object, *, seed: int, files: FileShelf) -> Answer:
        if isinstance(arguments, dict) and "draw" in arguments:
            text = arguments["draw"].encode()
            url = files.add(name="a.txt", content_type="text/plain", draw=lambda: text)
            return Answer(body={"file": {"url": url}})
        if isinstance(arguments, dict) and arguments.get("is_wrong"):
            entry = {"loc": ["body", "prompt"], "msg": "Field required", "type": "missing"}
            return Answer(body={"detail": [entry]}, status_code=422)
        return Answer(body=arguments)


def emulator(*faults, tls=False, **settings):
    scenario = Scenario(faults=faults, **settings)
    return Emulator(scenario, tls=tls, find_model=lambda _: Runner())


class Wire:
    """One raw connection."""

    def __init__(self, reader, writer, key):
        self.reader, self.writer, self.key = reader, writer, key

    @classmethod
    async def open(cls, em):
        host, port = em.url.rpartition("/")[2].split(":")
        return cls(*await asyncio.open_connection(host, int(port), ssl=em.ssl_context), em.key)

    def send(self, method, path, body=b"", *more):
        head = [f"{method} {path} HTTP/1.1", "host: x", f"authorization: Key {self.key}", *more]
        head.append(f"content-length: {len(body)}")
        self.writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)

    async def head(self):
        async with asyncio.timeout(GUARD_S):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split(" ")[1]), fields

    async def call(self, *request):
        self.send(*request)
        code, fields = await self.head()
        async with asyncio.timeout(GUARD_S):
            return code, fields, await self.reader.readexactly(int(fields["content-length"]))

    async def rest(self):
        async with asyncio.timeout(GUARD_S):
            return await self.reader.read()

    async def close(self):
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


async def submit(wire, body=b"{}"):
    code, _, answer = await wire.call("POST", "/acme/thing/fast", body)
    assert code == 200
    return json.loads(answer)


async def test_one_connection_carries_a_job_from_submit_to_result():
    async with emulator() as em:
        wire = await Wire.open(em)
        ticket = await submit(wire, b'{"n":1}')
        path = ticket["response_url"].removeprefix(em.url)
        code, fields, answer = await wire.call("GET", f"{path}/status?logs=1")
        assert (code, json.loads(answer)["status"]) == (200, "COMPLETED")
        assert fields["x-fal-request-id"] == ticket["request_id"]
        code, _, answer = await wire.call("GET", path)
        assert (code, json.loads(answer)) == (200, {"n": 1})
        code, _, _ = await wire.call("PUT", f"{path}/cancel")
        assert code == 400
        await wire.close()
        assert em.stats().connections == 1
        assert em.stats().jobs == 1


async def test_a_client_that_asks_to_close_is_closed():
    async with emulator() as em:
        wire = await Wire.open(em)
        wire.send("GET", "/_emulator/stats", b"", "connection: close")
        assert (await wire.head())[1]["connection"] == "close"
        assert (await wire.rest()).endswith(b"}")
        await wire.close()


@pytest.mark.parametrize(("when", "jobs"), [("before", 0), ("after", 1)])
async def test_a_reset_is_a_reset(when, jobs):
    async with emulator(Fault("reset", "submit", when=when)) as em:
        wire = await Wire.open(em)
        wire.send("POST", "/a/b", b"{}")
        with pytest.raises(ConnectionResetError):
            await wire.rest()
        await wire.close()
        assert em.stats().jobs == jobs


@pytest.mark.parametrize(("when", "jobs"), [("before", 0), ("after", 1)])
async def test_a_fin_is_an_end_without_a_byte(when, jobs):
    async with emulator(Fault("fin", "submit", when=when)) as em:
        wire = await Wire.open(em)
        wire.send("POST", "/a/b", b"{}")
        assert await wire.rest() == b""
        await wire.close()
        assert em.stats().jobs == jobs


async def test_a_cut_answer_announces_more_than_it_sends():
    async with emulator(Fault("cut", "submit", missing_bytes=5)) as em:
        wire = await Wire.open(em)
        wire.send("POST", "/a/b", b"{}")
        code, fields = await wire.head()
        assert code == 200
        assert int(fields["content-length"]) - len(await wire.rest()) == 5
        await wire.close()


async def test_an_answer_that_never_comes_does_not_hold_up_others_or_the_end():
    async with emulator(Fault("stall", "submit", nth=1)) as em:
        stalled, other = await Wire.open(em), await Wire.open(em)
        stalled.send("POST", "/a/b", b"{}")
        waiting = asyncio.create_task(stalled.rest())
        while em.stats().submits == 0:
            await other.call("GET", "/_emulator/stats")
        await submit(other)
        assert not waiting.done()
        assert em.stats().jobs == 2
    assert await waiting == b""
    await stalled.close()
    await other.close()


@pytest.mark.slow
async def test_a_dripping_answer_comes_in_pieces_and_whole():
    async with emulator(Fault("drip", "submit", delay_s=0.0001)) as em:
        wire = await Wire.open(em)
        wire.send("POST", "/a/b", b"{}")
        _, fields = await wire.head()
        pieces = []
        while sum(map(len, pieces)) < int(fields["content-length"]):
            pieces.append(await wire.reader.read(65536))
        assert len(pieces) > 5
        assert json.loads(b"".join(pieces))["status"] == "IN_QUEUE"
        await wire.close()


async def test_a_late_answer_comes_late():
    async with emulator(Fault("delay", "submit", delay_s=0.05)) as em:
        wire = await Wire.open(em)
        loop = asyncio.get_running_loop()
        started = loop.time()
        await submit(wire)
        assert loop.time() - started >= 0.05
        await wire.close()


@pytest.mark.parametrize(
    ("fault", "code", "named", "absent"),
    [
        (Fault("rate_limited", retry_after_s=7), 429, ("retry-after", "7"), None),
        (Fault("nginx", status_code=503), 503, ("content-type", "text/html"), "x-fal-request-id"),
        (Fault("json_error", status_code=408), 408, ("content-type", "application/json"), None),
        (
            Fault("redirect", location="http://127.0.0.2/"),
            302,
            ("location", "http://127.0.0.2/"),
            None,
        ),
        (Fault("html"), 200, ("content-type", "text/html"), None),
        (Fault("bomb", size_bytes=10_000), 200, ("content-encoding", "gzip"), None),
    ],
    ids=lambda one: one.kind if isinstance(one, Fault) else None,
)
async def test_an_answer_by_a_fault_reaches_the_wire(fault, code, named, absent):
    async with emulator(fault) as em:
        wire = await Wire.open(em)
        seen, fields, body = await wire.call("POST", "/a/b", b"{}")
        assert (seen, fields[named[0]]) == (code, named[1])
        assert absent not in fields
        if fault.kind == "bomb":
            assert len(zlib.decompress(body, wbits=31)) > 10_000
        # After a whole answer the connection is good for another call.
        assert (await wire.call("GET", "/_emulator/stats"))[0] == 200
        await wire.close()


async def test_a_body_of_many_megabytes_is_taken():
    async with emulator() as em:
        wire = await Wire.open(em)
        ticket = await submit(wire, json.dumps({"image": "x" * 8_000_000}).encode())
        _, fields, _ = await wire.call("GET", ticket["response_url"].removeprefix(em.url))
        assert int(fields["content-length"]) > 8_000_000
        await wire.close()


async def test_media_are_drawn_and_served_with_ranges_and_without_a_key():
    async with emulator() as em:
        wire = await Wire.open(em)
        ticket = await submit(wire, b'{"draw":"hello media"}')
        _, _, answer = await wire.call("GET", ticket["response_url"].removeprefix(em.url))
        path = json.loads(answer)["file"]["url"].removeprefix(em.url)
        wire.key = "nobody:nothing"
        code, fields, data = await wire.call("GET", path)
        assert (code, fields["content-type"], data) == (200, "text/plain", b"hello media")
        code, _, data = await wire.call("GET", path, b"", "range: bytes=6-")
        assert (code, data) == (206, b"media")
        await wire.close()


async def test_leaving_is_immediate_and_leaves_nothing_behind():
    before = asyncio.all_tasks()
    async with emulator() as em:
        wires = [await Wire.open(em) for _ in range(5)]
        for wire in wires:
            await submit(wire)
        loop = asyncio.get_running_loop()
        started = loop.time()
    assert loop.time() - started < 0.5
    assert asyncio.all_tasks() == before
    for wire in wires:
        assert await wire.rest() == b""
        await wire.close()
    with pytest.raises(ConnectionRefusedError):
        await Wire.open(em)
    await em.aclose()


async def test_starting_twice_is_refused():
    async with emulator() as em:
        with pytest.raises(RuntimeError, match="already"):
            await em.start()


async def test_overrides_win_over_the_scenario_and_the_gateways_point_at_it():
    async with Emulator(
        Scenario(runners=1), runners=7, seed=3, find_model=lambda _: Runner()
    ) as em:
        assert (em.scenario.runners, em.scenario.seed) == (7, 3)
        assert em.gateway.queue_url == em.url
        assert em.maton.base_url == em.maton.control_url == f"{em.url}/_maton"
        assert em.ssl_context is None
        assert em.key not in repr(em)
        with pytest.raises(RuntimeError, match="tls"):
            em.ca_pem()


@pytest.mark.slow
async def test_over_tls_its_own_authority_is_trusted_and_no_other():
    async with emulator(tls=True) as em:
        wire = await Wire.open(em)
        assert em.url.startswith("https://")
        assert (await submit(wire))["status_url"].startswith(em.url)
        await wire.close()
        assert em.ca_pem().startswith(b"-----BEGIN CERTIFICATE-----")
        host, port = em.url.rpartition("/")[2].split(":")
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection(host, int(port), ssl=ssl.create_default_context())


OFFICIAL = """
import asyncio
import fal_client

async def main():
    client = fal_client.AsyncClient()
    seen = []
    result = await client.subscribe(
        "acme/thing/fast", {"n": 1, "run_s": 0.3}, with_logs=True, on_queue_update=seen.append
    )
    assert result == {"n": 1, "run_s": 0.3}, result
    assert isinstance(seen[-1], fal_client.Completed), seen
    assert [entry["message"] for entry in seen[-1].logs] == ["working"], seen

    handle = await client.submit("acme/thing/fast", {"run_s": 60})
    assert isinstance(await handle.status(), fal_client.InProgress)
    await handle.cancel()
    assert (await handle.status()).error_type == "client_cancelled"

    wrong = await client.submit("acme/thing/fast", {"is_wrong": True})
    async for _ in wrong.iter_events(interval=0.01):
        pass
    try:
        await wrong.get()
    except fal_client.FalClientHTTPError as error:
        assert error.status_code == 422, error
    else:
        raise AssertionError("no error")

asyncio.run(main())
"""


@pytest.mark.slow
async def test_the_official_client_runs_its_jobs_over_tls(tmp_path):
    async with emulator(tls=True) as em:
        authority = tmp_path / "ca.pem"
        authority.write_bytes(em.ca_pem())
        host = em.url.removeprefix("https://")
        # Its hosts are read when it is imported, hence the process of its own.
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            OFFICIAL,
            env=os.environ
            | {
                "FAL_RUN_HOST": host,
                "FAL_QUEUE_RUN_HOST": host,
                "FAL_KEY": em.key,
                "SSL_CERT_FILE": str(authority),
            },
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        assert em.stats().jobs == 3


@pytest.mark.parametrize("kind", ["stall", "drip", "delay"])
async def test_a_client_that_goes_away_in_mid_answer_leaves_nothing(kind, caplog):
    before = asyncio.all_tasks()
    async with emulator(Fault(kind, "submit", delay_s=60.0)) as em:
        leaving, other = await Wire.open(em), await Wire.open(em)
        leaving.send("POST", "/a/b", b"{}")
        while em.stats().submits == 0:
            await other.call("GET", "/_emulator/stats")
        await leaving.close()
        await other.call("GET", "/_emulator/stats")
        await other.close()
    assert asyncio.all_tasks() == before
    assert caplog.records == []


async def test_a_submit_whose_body_never_ends_makes_no_job_and_holds_nothing_up(caplog):
    before = asyncio.all_tasks()
    async with emulator() as em:
        broken, stuck = await Wire.open(em), await Wire.open(em)
        for wire in (broken, stuck):
            wire.writer.write(b"POST /a/b HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{")
        other = await Wire.open(em)
        await other.call("GET", "/_emulator/stats")
        await broken.close()
        await other.call("GET", "/_emulator/stats")
        await other.close()
    await stuck.close()
    assert asyncio.all_tasks() == before
    assert em.stats().jobs == 0
    assert caplog.records == []


async def test_many_clients_at_once_each_get_their_own_jobs():
    async with emulator(runners=3) as em:
        wires = [await Wire.open(em) for _ in range(40)]

        async def run(number, wire):
            ticket = await submit(wire, json.dumps({"n": number}).encode())
            path = ticket["response_url"].removeprefix(em.url)
            while (await wire.call("GET", f"{path}/status"))[0] != 200:
                pass
            return json.loads((await wire.call("GET", path))[2])

        results = await asyncio.gather(*(run(number, wire) for number, wire in enumerate(wires)))
        assert results == [{"n": number} for number in range(40)]
        assert em.stats().in_progress_peak <= 3
        assert em.stats().connections == 40
        for wire in wires:
            await wire.close()
