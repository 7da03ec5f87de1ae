"""No byte of a key or a prompt reaches a host that the gateway does not name."""

from __future__ import annotations

import asyncio
import json

import pytest

import falq
from falq.emulator import Emulator, Fault, Scenario

PROMPT = "a-prompt-nobody-else-may-read"
VERBS = ["submit", "status", "result", "cancel"]


def gateway_of(emulator, way):
    return emulator.maton if way == "maton" else emulator.gateway


def queue_calls(emulator):
    return {verb: count for verb, count in emulator.stats().calls.items() if verb in VERBS}


async def use_every_verb(session):
    """Make each call of the queue once at least; return what it raised."""
    raised = []
    try:
        async with asyncio.timeout(0.5):
            handle = await session.submit("acme/echo", {"prompt": PROMPT}, client_timeout=0.4)
            for call in (handle.status, handle.cancel, handle.result):
                try:
                    await call()
                except falq.FalqError as error:
                    raised.append(error)
    except (falq.FalqError, TimeoutError) as error:
        raised.append(error)
    return raised


@pytest.mark.slow
@pytest.mark.parametrize("way", ["fal", "maton"])
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(spy, contacted_hosts, code, verb, way):
    location = f"{spy.url}/acme/echo/requests/stolen"
    redirect = Fault("redirect", verb, status_code=code, location=location)
    scenario = Scenario(faults=[redirect], run_s=0)
    async with Emulator(scenario) as emulator:
        session = falq.Session(
            gateway_of(emulator, way),
            poll=falq.PollSettings(initial_s=0.01),
            retry=falq.RetrySettings(base_s=0.01, cap_s=0.01, result_for_s=0.05),
            exit_grace_s=0.5,
            calls_per_s=1000.0,
        )
        async with session:
            raised = await use_every_verb(session)
        assert emulator.stats().faults["redirect"] >= 1
    assert verb == "cancel" or raised
    assert set(contacted_hosts) == {"127.0.0.1"}
    assert spy.connections == []


@pytest.mark.parametrize("code", [301, 302, 303])
async def test_a_redirect_that_turns_a_submit_into_a_get_leaves_it_unknown(spy, code):
    redirect = Fault("redirect", "submit", status_code=code, location=spy.url)
    async with Emulator(Scenario(faults=[redirect])) as emulator:
        async with falq.Session(emulator.gateway) as session:
            with pytest.raises(falq.SubmissionUnknownError):
                await session.submit("acme/echo", {"prompt": PROMPT})
        assert emulator.stats().submits == 1
    assert spy.connections == []


@pytest.mark.parametrize("code", [307, 308])
async def test_a_redirect_that_keeps_the_body_of_a_submit_is_an_error_of_its_own(spy, code):
    redirect = Fault("redirect", "submit", status_code=code, location=spy.url)
    async with Emulator(Scenario(faults=[redirect])) as emulator:
        async with falq.Session(emulator.gateway) as session:
            with pytest.raises(falq.UnexpectedRedirectError):
                await session.submit("acme/echo", {"prompt": PROMPT})
        assert emulator.stats().submits == 1
    assert spy.connections == []


async def test_a_trailing_slash_redirect_is_not_needed(spy):
    async with Emulator(Scenario(trailing_slash="redirect", run_s=0)) as emulator:
        async with falq.Session(
            emulator.gateway, poll=falq.PollSettings(initial_s=0.01)
        ) as session:
            assert await session.subscribe("acme/echo/", {"n": 1}) == {"n": 1}
        assert "307" not in emulator.stats().replies


@pytest.mark.parametrize("way", ["fal", "maton"])
@pytest.mark.parametrize("advertised", ["own", "fal", "foreign", "http", "userinfo", "port"])
async def test_addresses_in_bodies_are_never_followed(spy, contacted_hosts, advertised, way):
    scenario = Scenario(
        advertised=advertised, foreign_url=spy.url, has_response_suffix=True, run_s=0.05
    )
    async with Emulator(scenario) as emulator:
        async with falq.Session(
            gateway_of(emulator, way), poll=falq.PollSettings(initial_s=0.02), calls_per_s=1000.0
        ) as session:
            result = await session.subscribe("acme/echo/fast", {"prompt": PROMPT})
            handle = await session.submit(
                "acme/echo/fast", {"prompt": PROMPT, "_emulator": {"run_s": 60}}
            )
            await handle.status(with_logs=True)
            assert await handle.cancel() == "requested"
            with pytest.raises(falq.JobCancelledError):
                await handle
        assert set(queue_calls(emulator)) == set(VERBS)
    assert result == {"prompt": PROMPT}
    assert set(contacted_hosts) == {"127.0.0.1"}
    assert spy.connections == []


HOSTILE_PATHS = [
    "{spy}/victim/app/requests/{id}/status",
    "{spy}/a/b/c/d/requests/{id}/status",
    "{own}/../../victim/requests/{id}/status",
    "{own}/%2e%2e/%2e%2e/requests/{id}/status",
    "{own}/a%2fb/c%3fd/requests/{id}/status",
    "{own}//{spyhost}/requests/{id}/status",
    "{own}/victim/app/requests/another-request/status",
    "{own}@{spyhost}/acme/echo/requests/{id}/status",
    "{own}\\@{spyhost}/acme/echo/requests/{id}/status",
    "//{spyhost}/acme/echo/requests/{id}/status",
    "http://[::1",
    "javascript:alert(1)/requests/{id}/status",
    "x" * 5000,
    17,
    None,
    ["https://queue.fal.run"],
]


@pytest.mark.parametrize("number", range(len(HOSTILE_PATHS)))
async def test_a_hostile_status_url_leads_to_no_other_host_and_no_odd_path(
    spy, raw_server, contacted_hosts, number
):
    hostile = HOSTILE_PATHS[number]
    asked = []

    async def queue(connection):
        while request := await connection.read_request():
            method, path, _ = request.decode().split(" ", 2)
            asked.append(path)
            if method == "POST":
                url = hostile
                if isinstance(hostile, str):
                    url = hostile.replace("{id}", "r-1").replace("{spy}", spy.url)
                    url = url.replace("{own}", server.url).replace("{spyhost}", spy.url[7:])
                connection.answer(
                    {"request_id": "r-1", "status_url": url, "response_url": url, "cancel_url": url}
                )
            elif path.endswith("/status"):
                connection.answer({"status": "COMPLETED"})
            else:
                connection.answer({"done": True})

    async with raw_server(queue) as server:
        gateway = falq.Fal(key="id:secret", queue_url=server.url)
        async with falq.Session(gateway, poll=falq.PollSettings(initial_s=0.01)) as session:
            assert await session.subscribe("acme/echo", {"prompt": PROMPT}) == {"done": True}
    for path in asked[1:]:
        app, _, rest = path.partition("/requests/")
        assert rest in {"r-1/status", "r-1"}
        # Another app of the right form may be named; a path that climbs may not.
        assert app in {"/acme/echo", "/victim/app"}
    assert spy.connections == []
    assert set(contacted_hosts) <= {"127.0.0.1"}


async def test_the_environments_proxy_and_netrc_are_not_used(
    spy, contacted_hosts, monkeypatch, tmp_path
):
    for variable in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, spy.url)
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password else\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    async with (
        Emulator(Scenario(run_s=0)) as emulator,
        falq.Session(emulator.gateway, poll=falq.PollSettings(initial_s=0.01)) as session,
    ):
        assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
    assert spy.connections == []
    assert set(contacted_hosts) == {"127.0.0.1"}


async def test_a_cookie_is_not_kept(raw_server):
    async def queue(connection):
        while request := await connection.read_request():
            assert b"cookie" not in request.lower()
            answer = {"request_id": "r-1", "status": "COMPLETED"}
            connection.answer(answer, headers={"set-cookie": "track=me; Path=/"})

    async with raw_server(queue) as server:
        gateway = falq.Fal(key="id:secret", queue_url=server.url)
        async with falq.Session(gateway, poll=falq.PollSettings(initial_s=0.01)) as session:
            await session.subscribe("acme/echo", {})
        assert server.heard


async def test_each_call_carries_the_key_once_and_only_the_gateways(raw_server):
    requests = []

    async def queue(connection):
        while request := await connection.read_request():
            requests.append(request.decode())
            connection.answer({"request_id": "r-1", "status": "COMPLETED"})

    async with raw_server(queue) as server:
        maton = falq.Maton(
            key="maton-key", base_url=server.url, control_url=server.url, connection_id="c-1"
        )
        async with falq.Session(maton, poll=falq.PollSettings(initial_s=0.01)) as session:
            await session.subscribe("fal-ai/flux/schnell", {}, headers={"X-Mine": "yes"})
    lines = [request.split("\r\n") for request in requests]
    assert [one[0].split(" ")[1] for one in lines] == [
        "/fal-ai/fal-ai/flux/schnell",
        "/fal-ai/fal-ai/flux/requests/r-1/status",
        "/fal-ai/fal-ai/flux/requests/r-1",
    ]
    for one in lines:
        keys = [line for line in one if line.lower().startswith("authorization:")]
        assert keys == ["Authorization: Bearer maton-key"]
        assert "Maton-Connection: c-1" in one
    assert ["X-Mine: yes" in one for one in lines] == [True, False, False]
    assert json.loads(requests[0].split("\r\n\r\n")[1]) == {}
