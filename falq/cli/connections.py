"""The command about Maton's connections: list, create, show, delete.

Owns what each prints and when a connection's address may be printed. It never
sees a fal key: the owner enters it in a browser. The calls are the room
`connections`'.

The address holds a session token, so it is printed where a person reads, and
masked where a program or a log does, unless `--show-url` asks for it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any, Literal

from attrs import frozen

from falq.cli.failures import FAILED, OK
from falq.cli.output import Output, describe_count
from falq.cli.running import Interrupted
from falq.config import build_config
from falq.connections import (
    Connection,
    create_connection,
    delete_connection,
    get_connection,
    list_connections,
    wait_active,
)
from falq.connections.connection import mask_url
from falq.errors import ArgumentError, ConfigError
from falq.gateways import Maton

Action = Literal["list", "create", "show", "delete"]


@frozen(kw_only=True)
class ConnectionWords:
    """What the command line says.

    Attributes:
        action: What to do.
        connection_id: Which connection, for `show` and `delete`.
        status: Only those of this status, for `list`.
        wait: Wait until the connection is ACTIVE, for `create` and `show`.
        timeout: Seconds of that wait.
        show_url: Print the address whoever reads it.
    """

    action: Action
    connection_id: str | None
    status: str | None
    wait: bool
    timeout: float
    show_url: bool


async def connections(words: ConnectionWords, output: Output) -> int:
    """Do what `words` say and return the exit code."""
    gateway = choose_maton()
    _check_id(words)
    if words.action == "list":
        return await _list(gateway, words, output)
    if words.action == "create":
        return await _create(gateway, words, output)
    connection_id = words.connection_id or ""
    if words.action == "delete":
        await delete_connection(gateway, connection_id)
        output.data({"connection_id": connection_id, "deleted": True})
        return OK
    connection = await get_connection(gateway, connection_id)
    if words.wait and not connection.is_active:
        connection = await _wait(gateway, connection_id, words, output)
    _print(connection, words, output)
    return OK if connection.is_active else FAILED


def choose_maton() -> Maton:
    """Return the Maton gateway of the environment, whichever gateway sessions use.

    Raises:
        ConfigError: There is no Maton key.
    """
    gateway = build_config({**os.environ, "FALQ_GATEWAY": "maton"}).gateway
    if not isinstance(gateway, Maton):
        raise ConfigError("connections are Maton's; set MATON_API_KEY", setting="gateway")
    return gateway


def _check_id(words: ConnectionWords) -> None:
    is_needed = words.action in {"show", "delete"}
    if is_needed != (words.connection_id is not None):
        said = "needs the id of a connection" if is_needed else "takes no id"
        raise ArgumentError(
            f"connections {words.action} {said}; 'falq connections list' shows them",
            argument="connection_id",
        )


async def _list(gateway: Maton, words: ConnectionWords, output: Output) -> int:
    found = await list_connections(gateway, status=words.status)
    for connection in found:
        _print(connection, words, output)
    active = sum(connection.is_active for connection in found)
    output.note(f"{describe_count(len(found), 'connection')}, {active} ACTIVE")
    if not found:
        output.note("make one with: falq connections create")
    return OK


async def _create(gateway: Maton, words: ConnectionWords, output: Output) -> int:
    connection = await create_connection(gateway)
    _print(connection, words, output)
    if connection.url is not None and (words.show_url or sys.stdout.isatty()):
        output.note("open the url in a browser and enter the fal key there")
        output.note("the url is a secret: whoever has it can enter a key", style="yellow")
    else:
        name = connection.connection_id
        output.note(
            "the url is a secret and was not printed; to see it: falq connections show "
            f"{name} --show-url"
        )
    if words.wait:
        _print(await _wait(gateway, connection.connection_id, words, output), words, output)
    else:
        output.note(f"then: falq connections show {connection.connection_id} --wait")
    return OK


async def _wait(
    gateway: Maton, connection_id: str, words: ConnectionWords, output: Output
) -> Connection:
    output.note(f"waiting up to {words.timeout:g} s for {connection_id} …")
    try:
        return await wait_active(gateway, connection_id, timeout=words.timeout)
    except asyncio.CancelledError:
        output.note(f"stopped waiting; connection {connection_id} was left as it is")
        raise Interrupted from None


def _print(connection: Connection, words: ConnectionWords, output: Output) -> None:
    output.data(_as_data(connection, words))


def _as_data(connection: Connection, words: ConnectionWords) -> dict[str, Any]:
    data: dict[str, Any] = {
        "connection_id": connection.connection_id,
        "status": connection.status,
        "app": connection.app,
    }
    if connection.method:
        data["method"] = connection.method
    if connection.created_at is not None:
        data["created_at"] = connection.created_at
    if connection.updated_at is not None:
        data["updated_at"] = connection.updated_at
    # Of a connection that works nobody needs the page again.
    if connection.url is not None and not connection.is_active:
        is_for_a_person = words.action == "create" and sys.stdout.isatty()
        is_shown = words.show_url or is_for_a_person
        data["url"] = connection.url if is_shown else mask_url(connection.url)
    return data
