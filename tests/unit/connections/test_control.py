"""The list of a Maton account's connections."""

from __future__ import annotations

import pytest

from falq.cli.doctor import check_connection
from falq.connections import Connection, list_connections
from falq.connections.control import _read_connections
from falq.emulator import Emulator, Scenario
from falq.errors import ApiError, AuthenticationError, WireError
from falq.gateways import Maton
from tests.support import a_reply


@pytest.fixture
def anyio_backend() -> str:
    """Sockets are real here: a virtual clock would run ahead of them."""
    return "asyncio"


async def test_an_active_connection_is_listed_without_its_session_token():
    async with Emulator() as emulator:
        [connection] = await list_connections(emulator.maton, status="ACTIVE")
    assert connection.is_active
    assert connection.app == "fal-ai"
    assert connection.url is not None
    assert "session_token" in connection.url
    assert "session_token" not in repr(connection)


@pytest.mark.parametrize(("status", "count"), [("ACTIVE", 0), ("PENDING", 1), (None, 1)])
async def test_the_status_narrows_the_list(status, count):
    async with Emulator(Scenario(maton_connection="PENDING")) as emulator:
        assert len(await list_connections(emulator.maton, status=status)) == count


async def test_a_wrong_key_is_an_authentication_error():
    async with Emulator() as emulator:
        url = emulator.maton.control_url
        with pytest.raises(AuthenticationError, match="MATON_API_KEY"):
            await list_connections(Maton(key="wrong", base_url=url, control_url=url))


@pytest.mark.parametrize(("code", "kind"), [(403, AuthenticationError), (500, ApiError)])
def test_an_answer_that_says_no_is_an_api_error(code, kind):
    with pytest.raises(kind):
        _read_connections(a_reply(code))


@pytest.mark.parametrize(
    "body", [b"", b"<html>", [], {}, {"connections": [1]}, {"connections": [{}]}, None]
)
def test_an_answer_of_another_form_is_a_wire_error(body):
    with pytest.raises(WireError):
        _read_connections(a_reply(200, body))


def test_unknown_words_and_missing_fields_pass():
    body = {"connections": [{"connection_id": "c\x1b1", "status": "NEW", "more": 1}]}
    [connection] = _read_connections(a_reply(200, body))
    assert connection == Connection(connection_id="c\\x1b1", status="NEW", app="")
    assert not connection.is_active


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
