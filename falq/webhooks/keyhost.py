"""Fetch the public keys from the host that publishes them.

Owns the one request that does so. It never has a key of the user's, follows no
redirect, uses no proxy, and reads 64 KiB at most. `keys` says when to ask.
"""

from __future__ import annotations

import ssl
from typing import Any

import aiohttp
from yarl import URL

from falq._version import __version__
from falq.errors import ConnectError, FalqError, ResponseTooLargeError, TransportError, WireError
from falq.gateways import Fal, Gateway, check_origin

JWKS_URL = "https://rest.fal.ai/.well-known/jwks.json"
"""Where fal publishes its keys (its page on webhooks, 2026-09)."""

_PATH = "/.well-known/jwks.json"
_LIMIT_BYTES = 64 * 1024
_TOTAL_S = 10.0


def keys_url_of(gateway: Gateway | None) -> str:
    """Return where the keys of a gateway's webhooks are.

    Through Maton too it is fal that signs.
    """
    return f"{gateway.rest_url}{_PATH}" if isinstance(gateway, Fal) else JWKS_URL


class KeyHost:
    """Asks one address for its keys.

    Args:
        url: An https address, or http on loopback.
        ssl_context: Whom to trust, instead of the system's authorities.

    Raises:
        ConfigError: It is neither.
    """

    def __init__(self, url: str = JWKS_URL, *, ssl_context: ssl.SSLContext | None = None) -> None:
        self.url = check_origin(url, setting="keys_url")
        self._ssl_context = ssl_context

    def __repr__(self) -> str:
        return f"<KeyHost {self.url}>"

    async def fetch(self) -> bytes:
        """Return the key set as it came.

        Raises:
            TransportError: No whole answer came.
            WireError: The answer is not 200, redirects, or is too large.
        """
        failure: FalqError
        try:
            return await self._fetch()
        except aiohttp.ClientConnectorError as error:
            failure = ConnectError(f"{self.url}: {error.strerror or type(error).__name__}")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            failure = TransportError(f"{self.url} did not answer ({type(error).__name__})")
        raise failure

    async def _fetch(self) -> bytes:
        # A pool of its own for one request an hour: nothing of the user's is in it.
        trusted: Any = True if self._ssl_context is None else self._ssl_context
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=trusted, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                headers={"User-Agent": f"falq/{__version__}", "Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(total=_TOTAL_S),
            ) as pool,
            pool.get(URL(self.url), allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise WireError(
                    f"{self.url} answered {response.status}", status_code=response.status
                )
            body = bytearray()
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > _LIMIT_BYTES:
                    raise ResponseTooLargeError(
                        f"{self.url} sent more than {_LIMIT_BYTES} bytes",
                        status_code=response.status,
                    )
            return bytes(body)
