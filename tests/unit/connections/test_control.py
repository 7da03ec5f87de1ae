"""The list of a Maton account's connections, and what makes and deletes them."""

from __future__ import annotations

from urllib.parse import urlsplit

import aiohttp
import pytest

from falq.cli.doctor import check_connection
from falq.connections import (
    Connection,
    create_connection,
    delete_connection,
    get_connection,
    list_connections,
)
from falq.connections.connection import mask_url, read_connection, read_connections
from falq.emulator import Emulator, Fault, Scenario
from falq.errors import (
    ApiError,
    ArgumentError,
    AuthenticationError,
    RateLimitError,
    RequestNotFoundError,
    ServerError,
    TransportError,
    WireError,
)
from falq.gateways import Maton
from tests.support import a_reply


@pytest.fixture
def anyio_backend() -> str:
    """Sockets are real here: a virtual clock would run ahead of them."""
    return "asyncio"


@pytest.fixture
async def emulator():
    async with Emulator(Scenario(maton_connection="NONE")) as emulator:
        yield emulator


async def enter_key(url, key):
    async with aiohttp.ClientSession() as browser, browser.post(url, data={"key": key}) as reply:
        return reply.status, await reply.text()


async def test_an_active_connection_is_listed_without_its_session_token():
    async with Emulator() as emulator:
        [connection] = await list_connections(emulator.maton, status="ACTIVE")
    assert connection.is_active
    assert (connection.app, connection.method) == ("fal-ai", "API_KEY")
    assert connection.url is not None
    token = connection.url.partition("session_token=")[2]
    assert token
    assert token not in repr(connection)
    assert "/_maton/connect?<secret>" in repr(connection)


@pytest.mark.parametrize(("status", "count"), [("ACTIVE", 0), ("PENDING", 1), (None, 1)])
async def test_the_status_narrows_the_list(status, count):
    async with Emulator(Scenario(maton_connection="PENDING")) as emulator:
        assert len(await list_connections(emulator.maton, status=status)) == count


async def test_a_connection_is_made_entered_looked_at_and_deleted(emulator):
    made = await create_connection(emulator.maton)
    assert (made.status, made.app, made.method) == ("PENDING", "fal-ai", "API_KEY")
    assert (await get_connection(emulator.maton, made.connection_id)).status == "PENDING"

    assert made.url is not None
    status, page = await enter_key(made.url, emulator.key)
    assert (status, "was accepted" in page) == (200, True)
    now = await get_connection(emulator.maton, made.connection_id)
    assert now.is_active
    assert now.created_at is not None
    assert now.updated_at is not None
    assert await list_connections(emulator.maton, status="ACTIVE") == (now,)

    await delete_connection(emulator.maton, made.connection_id)
    assert await list_connections(emulator.maton) == ()
    with pytest.raises(RequestNotFoundError, match="falq connections list"):
        await get_connection(emulator.maton, made.connection_id)
    with pytest.raises(RequestNotFoundError):
        await delete_connection(emulator.maton, made.connection_id)


async def test_an_unknown_method_is_refused_in_words_about_connections(emulator):
    with pytest.raises(ApiError, match="the fal-ai app takes API_KEY") as caught:
        await create_connection(emulator.maton, method="OAUTH2")
    assert caught.value.status_code == 400


@pytest.mark.parametrize("connection_id", ["", "..", "a/b", "a?b", "a b", "é"])
async def test_an_id_that_would_change_the_path_is_never_sent(emulator, connection_id):
    with pytest.raises(ArgumentError, match="connection_id"):
        await delete_connection(emulator.maton, connection_id)
    assert emulator.stats().calls.get("connections", 0) == 0


async def test_a_wrong_key_is_an_authentication_error():
    async with Emulator() as emulator:
        url = emulator.maton.control_url
        with pytest.raises(AuthenticationError, match=r"MATON_API_KEY again from maton\.ai"):
            await list_connections(Maton(key="wrong", base_url=url, control_url=url))


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (
            Fault("rate_limited", "connections", retry_after_s=7),
            RateLimitError,
            "about 10 calls a second",
        ),
        (Fault("json_error", "connections"), ServerError, "may have expired"),
        (Fault("nginx", "connections"), ServerError, "try again later"),
        (Fault("html", "connections"), WireError, "control_url"),
        (Fault("reset", "connections"), TransportError, "before the answer|connection"),
    ],
)
async def test_each_refusal_says_what_to_do(fault, kind, words):
    async with Emulator(Scenario(faults=(fault,))) as emulator:
        with pytest.raises(kind, match=words) as caught:
            await list_connections(emulator.maton)
    if kind is RateLimitError:
        assert caught.value.retry_after_s == 7


@pytest.mark.parametrize("kind", ["reset", "fin"])
async def test_a_create_that_broke_is_not_sent_again(kind):
    fault = Fault(kind, "connections", when="after", nth=1)
    async with Emulator(Scenario(maton_connection="NONE", faults=(fault,))) as emulator:
        with pytest.raises(TransportError):
            await create_connection(emulator.maton)
        assert len(await list_connections(emulator.maton)) == 1


async def test_a_cut_answer_to_a_create_is_a_transport_error_and_is_not_repeated():
    scenario = Scenario(maton_connection="NONE", faults=(Fault("cut", "connections", nth=1),))
    async with Emulator(scenario) as emulator:
        with pytest.raises(TransportError):
            await create_connection(emulator.maton)
        assert len(await list_connections(emulator.maton)) == 1


@pytest.mark.parametrize(
    "body", [b"", b"<html>", [], {}, {"connections": [1]}, {"connections": [{}]}, None]
)
def test_an_answer_of_another_form_is_a_wire_error(body):
    with pytest.raises(WireError):
        read_connections(a_reply(200, body))


@pytest.mark.parametrize(
    "body", [b"", b"<html>", [], {}, {"connection": 1}, {"connection": {}}, None]
)
def test_an_answer_without_a_connection_is_a_wire_error(body):
    with pytest.raises(WireError):
        read_connection(a_reply(200, body))


def test_what_cannot_be_read_is_not_quoted_if_it_may_hold_a_token():
    body = {"url": "https://connect.maton.ai/?session_token=secret"}
    with pytest.raises(WireError) as caught:
        read_connection(a_reply(200, body))
    assert "secret" not in caught.value.excerpt
    with pytest.raises(WireError) as caught:
        read_connection(a_reply(200, b"<html>"))
    assert caught.value.excerpt == "<html>"


def test_unknown_words_and_missing_fields_pass():
    body = {"connections": [{"connection_id": "c\x1b1", "status": "NEW", "more": 1}]}
    [connection] = read_connections(a_reply(200, body))
    assert connection == Connection(connection_id="c\\x1b1", status="NEW", app="")
    assert not connection.is_active
    assert not connection.is_failed


@pytest.mark.parametrize(
    "url",
    [
        1,
        None,
        "",
        "connect",
        "javascript:alert(1)",
        "http://connect.maton.ai/",
        "https://",
        "https://[",
        "https://a b/",
        "https://connect.maton.ai/\x1b[2J",
    ],
)
def test_an_address_that_nobody_should_open_is_none(url):
    body = {"connection": {"connection_id": "c", "url": url}}
    assert read_connection(a_reply(200, body)).url is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (None, "None"),
        ("https://connect.maton.ai/?session_token=x", "https://connect.maton.ai/?<secret>"),
        ("https://connect.maton.ai/", "https://connect.maton.ai/"),
    ],
)
def test_an_address_is_shown_without_its_query(url, shown):
    assert mask_url(url) == shown
    assert shown in repr(Connection(connection_id="c", status="PENDING", app="fal-ai", url=url))


@pytest.mark.parametrize(
    ("state", "level"), [("ACTIVE", "ok"), ("PENDING", "fail"), ("NONE", "fail")]
)
async def test_the_doctor_asks_for_an_active_connection(state, level):
    async with Emulator(Scenario(maton_connection=state)) as emulator:
        finding = await check_connection(emulator.maton)
    assert finding.level == level
    assert "session_token" not in finding.text


async def test_the_doctor_gives_no_key_to_a_host_that_was_not_named():
    finding = await check_connection(Maton(key="m", base_url="http://127.0.0.1:9"))
    assert finding.level == "warn"
    assert "not asked" in finding.text


async def test_the_address_of_a_made_connection_is_a_page_of_the_emulator(emulator):
    made = await create_connection(emulator.maton)
    assert made.url is not None
    assert made.url.startswith(emulator.url)
    assert urlsplit(made.url).path == "/_maton/connect"
