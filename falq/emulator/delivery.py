"""A reply as bytes on a connection, faults of the network included.

Owns the writing of HTTP/1.1 heads and what each `Transmission` does to a
connection. It never chooses a reply: `routes` does. The server hands it the
transport of the request's connection.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import struct
import time
from email.utils import formatdate
from http import HTTPStatus

from falq.emulator.messages import Reply

# Closing a socket that lingers for zero seconds sends a reset, not an end.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}
_NO_BODY_CODES = frozenset({204, 304})


@functools.lru_cache(maxsize=2)
def _date_line(second: int) -> str:
    return f"date: {formatdate(second, usegmt=True)}\r\n"


def write_head(reply: Reply, *, length: int | None, keep_alive: bool) -> bytes:
    """Return status line and headers of a reply of `length` bytes; None for one in chunks."""
    code = reply.status_code
    lines = [_STATUS_LINES.get(code) or f"HTTP/1.1 {code} Unknown\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in reply.headers]
    lines.append(_date_line(int(time.time())))
    if length is None:
        lines.append("transfer-encoding: chunked\r\n")
    elif code not in _NO_BODY_CODES:
        lines.append(f"content-length: {length}\r\n")
    if not keep_alive:
        lines.append("connection: close\r\n")
    lines.append("\r\n")
    return "".join(lines).encode("latin-1", "replace")


def is_ordinary(reply: Reply) -> bool:
    """Return whether a reply can be written in one go, at once."""
    transmission = reply.transmission
    is_now = transmission.manner == "normal" and not transmission.delay_s
    return is_now and reply.feed is None


def write_whole(reply: Reply, transport: asyncio.WriteTransport, *, keep_alive: bool) -> None:
    """Send a whole reply."""
    head = write_head(reply, length=len(reply.body), keep_alive=keep_alive)
    transport.write(head + reply.body)


async def deliver(reply: Reply, transport: asyncio.WriteTransport, *, keep_alive: bool) -> bool:
    """Send a reply the way its transmission says.

    Returns:
        Whether the connection is still good for another request.

    A cancelled delivery leaves whatever was sent so far; its connection must be closed.
    """
    transmission = reply.transmission
    if transmission.delay_s:
        await asyncio.sleep(transmission.delay_s)
    manner = transmission.manner
    if manner == "normal":
        write_whole(reply, transport, keep_alive=keep_alive)
        return keep_alive
    if manner == "drip":
        await _drip(reply, transport, keep_alive=keep_alive)
        return keep_alive
    if manner == "cut":
        _cut(reply, transport)
    elif manner == "stall":
        # Ends when the client gives up or the server closes: both cancel.
        await asyncio.get_running_loop().create_future()
    elif manner == "reset":
        _reset(transport)
    transport.close()
    return False


async def _drip(reply: Reply, transport: asyncio.WriteTransport, *, keep_alive: bool) -> None:
    transport.write(write_head(reply, length=len(reply.body), keep_alive=keep_alive))
    step = reply.transmission.piece_bytes
    for start in range(0, len(reply.body), step):
        await asyncio.sleep(reply.transmission.pause_s)
        transport.write(reply.body[start : start + step])


def _cut(reply: Reply, transport: asyncio.WriteTransport) -> None:
    sent = reply.body[: reply.transmission.cut_at_bytes]
    # At least one byte is missing, whatever the body is.
    length = max(len(reply.body), len(sent) + 1)
    transport.write(write_head(reply, length=length, keep_alive=True) + sent)


def _reset(transport: asyncio.WriteTransport) -> None:
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
