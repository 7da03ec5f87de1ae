"""What both ways of carrying a call share: bounded bodies, and aiohttp's errors mapped.

Owns the limit on a body, after unpacking, and the one place where an exception
of aiohttp becomes one of falq's.
"""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp
from aiohttp.http import HttpProcessingError

from falq.errors import (
    ConnectError,
    FalqError,
    ResponseTooLargeError,
    TransportError,
    TransportTimeoutError,
)

FAILURES = (aiohttp.ClientError, HttpProcessingError, OSError, TimeoutError)
"""What a call can end with: a session maps the parser's own error, a connection does not."""

LONGEST_HEADER_BYTES = 32 * 1024
"""fal's own headers may have 16 KB together (its page on platform headers), so one may
have as much. aiohttp refuses one of 8 KiB, and the answer with it."""


def read_arrived_body(
    content: aiohttp.StreamReader, *, headers: Mapping[str, str], limit: int
) -> bytes | None:
    """Return a body that came with its head, as most do; None if it is to be read piece by piece.

    Args:
        content: Where it arrived.
        headers: Of its reply.
        limit: Bytes that it may have after unpacking.
    """
    if not content.is_eof() or content.exception() is not None:
        return None
    length = headers.get("Content-Length", "")
    if not length.isdecimal() or int(length) > limit or "Content-Encoding" in headers:
        return None
    return content.read_nowait()


async def read_body(
    content: aiohttp.StreamReader,
    *,
    status_code: int,
    headers: Mapping[str, str],
    limit: int,
) -> tuple[bytes, FalqError | None]:
    """Return a body as far as it came, and why it is not whole.

    Args:
        content: Where it arrives.
        status_code: Of its reply, for the error.
        headers: Of its reply.
        limit: Bytes that it may have after unpacking.
    """
    arrived = read_arrived_body(content, headers=headers, limit=limit)
    if arrived is not None:
        return arrived, None
    pieces = bytearray()
    try:
        # Piece by piece: what came before a break may name a job that costs money.
        async for piece in content.iter_any():
            pieces += piece
            if len(pieces) > limit:
                return b"", _too_large(status_code, limit)
    except FAILURES as error:
        return bytes(pieces), map_failure(error, was_sent=True)
    return bytes(pieces), None


def _too_large(status_code: int, limit: int) -> ResponseTooLargeError:
    return ResponseTooLargeError(
        f"the answer is larger than {limit} bytes; raise the limit in CallLimits if that is right",
        status_code=status_code,
    )


def map_failure(error: BaseException, *, was_sent: bool) -> TransportError:
    """Return falq's error for one of aiohttp's, without a reference to it.

    Args:
        error: What aiohttp or the system raised.
        was_sent: Whether bytes of the request may have left.
    """
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return TransportTimeoutError(
            "no connection within the time-out; check the network", request_sent=False
        )
    if isinstance(error, aiohttp.ClientHttpProxyError):
        hint = "check its user name and password" if error.status == 407 else "ask who runs it"
        return ConnectError(f"the proxy refused the connection (HTTP {error.status}); {hint}")
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return ConnectError(
            f"cannot connect to the proxy ({_reason(error)}); check its address and the network"
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        return ConnectError(
            f"cannot connect to {error.host}:{error.port} ({_reason(error)}); check the network "
            "and the gateway's address"
        )
    if isinstance(error, TimeoutError):
        return TransportTimeoutError(
            "no complete answer within the time-out", request_sent=was_sent
        )
    return TransportError(f"the connection broke ({type(error).__name__})", request_sent=was_sent)


def _reason(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted: {error.certificate_error}"
    return error.os_error.strerror or type(error.os_error).__name__
