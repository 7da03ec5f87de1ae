"""A direct run is paid for: it is sent once, whatever its HTTP method."""

from __future__ import annotations

import pytest

import falq

METHODS = ["POST", "PUT", "PATCH", "DELETE", "GET"]


async def hang_up(connection):
    connection.writer.close()


async def reset(connection):
    connection.reset()


@pytest.mark.parametrize("is_reused", [False, True], ids=["fresh", "kept alive"])
@pytest.mark.parametrize("misbehave", [hang_up, reset], ids=lambda one: one.__name__)
@pytest.mark.parametrize("method", METHODS)
async def test_a_run_whose_answer_was_lost_is_not_sent_again(
    raw_server, method, misbehave, is_reused
):
    seen = []

    async def script(connection):
        while await connection.read_request():
            seen.append(connection.number)
            if is_reused and len(seen) == 1:
                connection.answer({"n": 1})
                continue
            await misbehave(connection)
            return

    async with (
        raw_server(script) as server,
        falq.Session(
            falq.Fal(key="id:secret", queue_url=server.url, run_url=server.url)
        ) as session,
    ):
        if is_reused:
            assert await session.run("acme/echo", {"n": 1}, method=method) == {"n": 1}
        with pytest.raises(falq.TransportError) as caught:
            await session.run("acme/echo", {"n": 2}, method=method)
    assert caught.value.possibly_billed
    assert seen == ([0, 0] if is_reused else [0])


@pytest.mark.parametrize("method", METHODS)
async def test_a_run_that_was_not_sent_is_tried_again_and_then_told_so(method):
    async with falq.Session(
        falq.Fal(key="id:secret", queue_url="http://127.0.0.1:1", run_url="http://127.0.0.1:1"),
        retry=falq.RetrySettings(base_s=0.001),
    ) as session:
        with pytest.raises(falq.ConnectError) as caught:
            await session.run("acme/echo", {"n": 2}, method=method)
        assert session.statistics().calls == {"run": 3}
    assert not caught.value.possibly_billed
