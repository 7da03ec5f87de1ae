"""Reads and cancels on pooled connections, with as little per call as can be.

Owns a pool of aiohttp's connections for calls that may be repeated. A client
session does much for each request that these never need: cookies, redirects,
default headers, a request and a response object. Checks are what falq makes
most of, so they use the layer below: aiohttp's connector, which makes, keeps
and secures connections, and its response parser. Submits never come here.

That layer is public but not documented, so it is looked at first
(`is_supported`): with an aiohttp that has changed it, these calls go through a
client session as well.
"""

from __future__ import annotations

import asyncio
import inspect
import ssl
from collections.abc import Mapping
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from yarl import URL

from falq._core.messages import Call, CallLimits, Reply
from falq._transport.bodies import FAILURES, map_failure, read_body
from falq.errors import FalqError

_SWITCHING_PROTOCOLS = 101


def is_supported() -> bool:
    """Return whether the installed aiohttp has the layer that this module uses."""
    connect = inspect.signature(aiohttp.TCPConnector.connect).parameters
    prepare = inspect.signature(ResponseHandler.set_response_params).parameters
    return (
        list(connect) == ["self", "req", "traces", "timeout"]
        and {
            "skip_payload",
            "read_until_eof",
            "auto_decompress",
            "read_timeout",
        }
        <= prepare.keys()
    )


class ReadPool:
    """Connections to one origin for calls that may be repeated.

    Args:
        root: Address below which the calls' targets lie.
        headers: Headers of every call, the key among them.
        ssl_context: Whom to trust; True for the system's authorities.
        connect_s: Seconds to make a connection.
        read_s: Seconds between two pieces of an answer.
        keepalive_s: Seconds that an idle connection is kept.
        limits: How large a body may be.
    """

    def __init__(
        self,
        root: str,
        headers: Mapping[str, str],
        *,
        ssl_context: ssl.SSLContext | bool,
        connect_s: float,
        read_s: float,
        keepalive_s: float,
        limits: CallLimits,
    ) -> None:
        url = URL(root, encoded=True)
        self._path = url.raw_path.rstrip("/")
        self._limits = limits
        self._read_s = read_s
        self._timeout = aiohttp.ClientTimeout(connect=connect_s, sock_connect=connect_s)
        self._connector = aiohttp.TCPConnector(
            limit=0, ssl=ssl_context, keepalive_timeout=keepalive_s, ttl_dns_cache=60
        )
        # Never sent: it tells the connector where to connect and whom to trust.
        self._where = aiohttp.ClientRequest(
            "GET", url, loop=asyncio.get_running_loop(), ssl=ssl_context
        )
        lines = {"Host": self._where.headers["Host"], "Accept-Encoding": "gzip, deflate"}
        # `str` reveals a masked value: the only place where the key becomes bytes.
        head = [f"{name}: {value!s}" for name, value in (lines | dict(headers)).items()]
        self._head = _Wire(("\r\n".join(head) + "\r\n\r\n").encode("ascii"))

    async def send(self, call: Call, *, total_s: float) -> Reply:
        """Carry one call and return the reply, at least its head.

        Args:
            call: One without a body that may be repeated.
            total_s: Seconds that it may take altogether.

        Raises:
            TransportError: No head of a reply came.
        """
        failure: BaseException
        deadline = asyncio.get_running_loop().time() + total_s
        try:
            try:
                return await self._exchange(call, deadline)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                if isinstance(error, aiohttp.ClientConnectorError):
                    raise
            # The server closed an idle connection in this moment; as aiohttp
            # does, such a call is sent once more.
            return await self._exchange(call, deadline)
        except FAILURES as error:
            failure = error
        raise map_failure(failure, was_sent=True)

    async def _exchange(self, call: Call, deadline: float) -> Reply:
        connection = await self._connector.connect(self._where, [], self._timeout)
        try:
            message, payload = await self._ask(call, connection, deadline)
            body, fault = await self._listen(call, connection, message, payload, deadline)
        except BaseException:
            connection.close()
            raise
        if fault is None:
            connection.release()
        else:
            connection.close()
        return Reply(message.code, message.headers, body, fault)

    async def _ask(self, call: Call, connection: Connection, deadline: float) -> tuple[Any, Any]:
        """Send the request; return the head of the reply and the stream of its body."""
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None:
            raise aiohttp.ServerDisconnectedError
        protocol.set_response_params(read_until_eof=True)
        transport.write(self._request(call))
        loop = asyncio.get_running_loop()
        # One timer for the head. Most bodies come with it and need none.
        async with asyncio.timeout_at(min(deadline, loop.time() + self._read_s)):
            message, payload = await protocol.read()
            while message.code < 200 and message.code != _SWITCHING_PROTOCOLS:
                message, payload = await protocol.read()
        return message, payload

    async def _listen(
        self, call: Call, connection: Connection, message: Any, payload: Any, deadline: float
    ) -> tuple[bytes, FalqError | None]:
        body = read_body(
            payload,
            status_code=message.code,
            headers=message.headers,
            limit=self._limits.for_reply(call.verb, message.code),
        )
        if payload.is_eof() or connection.protocol is None:
            return await body
        connection.protocol.read_timeout = self._read_s
        connection.protocol.start_timeout()
        try:
            async with asyncio.timeout_at(deadline):
                return await body
        except TimeoutError as error:
            failure: BaseException = error
        return b"", map_failure(failure, was_sent=True)

    def _request(self, call: Call) -> bytes:
        length = "" if call.method == "GET" else "Content-Length: 0\r\n"
        line = f"{call.method} {self._path}{call.target} HTTP/1.1\r\n{length}"
        return line.encode("ascii") + self._head.data

    async def aclose(self) -> None:
        """Close every connection."""
        await self._connector.close()


class _Wire:
    """Bytes with the key in them, which no repr shows."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __repr__(self) -> str:
        return "<request head>"
