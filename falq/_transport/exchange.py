"""Exchanges on pooled connections, with as little per call as can be.

Owns what is written to and read from aiohttp's connections to one origin. A client
session does much for each request that falq's calls never need: cookies, redirects,
default headers, a request and a response object. Calls are what falq makes most of,
so they use the layer below: aiohttp's connector, which makes and secures connections,
and its response parser. `idle` keeps the connections, `deadlines` gives answers up.

That layer is public but not documented, so it is looked at first
(`is_supported`): with an aiohttp that has changed it, all calls go through a
client session.

Rules:
    1. "Not sent" is certain here: it holds until the request is handed to the
       connection, and no longer.
    2. Only a call that may be repeated is sent again, once, when the server
       closed its connection before it answered.
    3. A connection that was not read to the end of its answer is closed, and one whose
       request may have been refused before it had left: the next would follow the rest.
    4. One connection has one parser, so an answer is always read from where the
       one before it ended.
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
from falq._transport.bodies import (
    FAILURES,
    LONGEST_HEADER_BYTES,
    map_failure,
    read_arrived_body,
    read_body,
)
from falq._transport.connector import Connector
from falq._transport.deadlines import Deadlines
from falq._transport.idle import IdleConnections
from falq.errors import ArgumentError, FalqError

_SWITCHING_PROTOCOLS = 101

_AT_ONCE_BYTES = 16 * 1024
"""A request of this size leaves at once: systems buffer as much for each connection."""


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
            "max_field_size",
        }
        <= prepare.keys()
        and {"read_timeout", "start_timeout", "should_close", "is_connected"}
        <= set(dir(ResponseHandler))
    )


class ExchangePool:
    """Connections to one origin.

    Args:
        root: Address below which the calls' targets lie.
        headers: Headers of every call, the key among them.
        ssl_context: Whom to trust; True for the system's authorities.
        connect_s: Seconds to make a connection.
        read_s: Seconds between two pieces of an answer; None for no limit but
            the call's own.
        keepalive_s: Seconds that an idle connection is kept.
        limits: How large a body may be.
        may_repeat: Whether its calls may be sent again when a connection breaks.
    """

    def __init__(
        self,
        root: str,
        headers: Mapping[str, str],
        *,
        ssl_context: ssl.SSLContext | bool,
        connect_s: float,
        read_s: float | None,
        keepalive_s: float,
        limits: CallLimits,
        may_repeat: bool,
    ) -> None:
        url = URL(root, encoded=True)
        self._path = url.raw_path.rstrip("/")
        self._limits = limits
        self._read_s = read_s
        self._tries = 2 if may_repeat else 1
        self._loop = asyncio.get_running_loop()
        self._connect_s = connect_s
        self._usual_timeout = aiohttp.ClientTimeout(connect=connect_s)
        self._idle = IdleConnections(keepalive_s=keepalive_s)
        self._deadlines = Deadlines(_give_up)
        self._connector = Connector(
            limit=0, ssl=ssl_context, keepalive_timeout=keepalive_s, ttl_dns_cache=60
        )
        # Never sent: it tells the connector where to connect and whom to trust.
        self._where = aiohttp.ClientRequest("GET", url, loop=self._loop, ssl=ssl_context)
        always = {"Host": self._where.headers["Host"], "Accept-Encoding": "gzip, deflate"}
        self._always = _Outgoing(_write_headers(always | dict(headers)) + b"\r\n")

    async def send(self, call: Call, *, total_s: float) -> Reply:
        """Carry one call and return the reply, at least its head.

        Args:
            call: What to send.
            total_s: Seconds that it may take altogether.

        Raises:
            ArgumentError: A header holds a line break; nothing was sent.
            TransportError: No head of a reply came.
        """
        request = self._request(call)
        deadline = self._loop.time() + total_s
        failure: BaseException | None = None
        for attempt in range(1, self._tries + 1):
            try:
                return await self._exchange(call, request, deadline)
            except FAILURES as error:
                failure = error
                if attempt == self._tries or not _is_closed_idle(error):
                    break
        raise map_failure(failure or TimeoutError(), was_sent=request.was_sent)

    async def _exchange(self, call: Call, request: _Outgoing, deadline: float) -> Reply:
        connection = self._idle.take()
        if connection is None:
            connection = await self._connect(deadline - self._loop.time())
        try:
            protocol = _write(connection, request)
            message, payload = await self._read_head(protocol, deadline)
            limit = self._limits.for_reply(call.verb, message.code)
            body = read_arrived_body(payload, headers=message.headers, limit=limit)
            fault: FalqError | None = None
            if body is None:
                body, fault = await self._read_rest(protocol, message, payload, deadline, limit)
        except BaseException:
            connection.close()
            raise
        if fault is None and not _may_be_unsent(call, message.code):
            self._idle.keep(connection)
        else:
            connection.close()
        return Reply(message.code, message.headers, body, fault)

    async def _connect(self, left_s: float) -> Connection:
        limit = self._usual_timeout
        if left_s < self._connect_s:
            limit = aiohttp.ClientTimeout(connect=max(left_s, 0.001))
        connection = await self._connector.connect(self._where, [], limit)
        if connection.protocol is not None:
            # Once for all its answers: they are read by one parser, one after the other.
            connection.protocol.set_response_params(
                read_until_eof=True, max_field_size=LONGEST_HEADER_BYTES
            )
        return connection

    async def _read_head(self, protocol: ResponseHandler, deadline: float) -> tuple[Any, Any]:
        """Return the head of the reply and the stream of its body."""
        limit = deadline
        if self._read_s is not None:
            limit = min(deadline, self._loop.time() + self._read_s)
        self._deadlines.add(protocol, limit)
        try:
            message, payload = await protocol.read()
            while message.code < 200 and message.code != _SWITCHING_PROTOCOLS:
                message, payload = await protocol.read()
        finally:
            self._deadlines.discard(protocol)
        return message, payload

    async def _read_rest(
        self, protocol: ResponseHandler, message: Any, payload: Any, deadline: float, limit: int
    ) -> tuple[bytes, FalqError | None]:
        """Return a body that is packed, or did not come with its head, as far as it comes."""
        body = read_body(payload, status_code=message.code, headers=message.headers, limit=limit)
        if payload.is_eof():
            return await body
        protocol.read_timeout = self._read_s
        protocol.start_timeout()
        try:
            async with asyncio.timeout_at(deadline):
                return await body
        except TimeoutError as error:
            failure: BaseException = error
        finally:
            protocol.read_timeout = None
        return b"", map_failure(failure, was_sent=True)

    def _request(self, call: Call) -> _Outgoing:
        body = call.body or b""
        line = f"{call.method} {self._path}{call.target} HTTP/1.1\r\n"
        if call.method != "GET":
            line += f"Content-Length: {len(body)}\r\n"
        own = line.encode("ascii")
        if call.headers:
            own += _write_headers(call.headers)
        return _Outgoing(own + self._always.data + body)

    async def aclose(self) -> None:
        """Close every connection."""
        self._deadlines.close()
        try:
            # It waits for those that say goodbye, the idle ones among them.
            await self._connector.close()
        finally:
            self._idle.close()


def _write_headers(headers: Mapping[str, str]) -> bytes:
    """Return header lines; `str` reveals a masked value, nowhere else but on the wire."""
    lines = [f"{name}: {value!s}" for name, value in headers.items()]
    text = "\r\n".join([*lines, ""])
    if text.count("\n") != len(lines) or text.count("\r") != len(lines):
        raise ArgumentError("a header holds a line break; nothing was sent", argument="headers")
    return text.encode("ascii")


def _write(connection: Connection, request: _Outgoing) -> ResponseHandler:
    """Hand the request to a connection, and return what reads from it."""
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None or transport.is_closing():
        raise aiohttp.ServerDisconnectedError
    request.was_sent = True
    transport.write(request.data)
    return protocol


def _may_be_unsent(call: Call, status_code: int) -> bool:
    """Return whether a server may have said no before it was told all.

    What is left to send shows in a plain connection and not in one with TLS, so it is
    not asked.
    """
    return status_code >= 400 and call.body is not None and len(call.body) > _AT_ONCE_BYTES


def _give_up(protocol: ResponseHandler) -> None:
    protocol.set_exception(aiohttp.SocketTimeoutError("nothing was heard in time"))


def _is_closed_idle(error: BaseException) -> bool:
    """Return whether the server may have closed an idle connection in this moment."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return False
    return isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)


class _Outgoing:
    """Bytes with the key in them, which no repr shows, nor a traceback with its locals."""

    __slots__ = ("data", "was_sent")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.was_sent = False

    def __repr__(self) -> str:
        return "<request head>"
