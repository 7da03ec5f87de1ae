"""The way out through a company's proxy.

Owns the proxy's address, which hosts go past it, and its password, which is shown
nowhere. A `Proxy` is a small frozen value; it never reads the environment (`config`
does) and connects to nothing: whoever has connections asks it what to say to them.

Rules:
    1. Only `https://` goes through it, in a tunnel (CONNECT): the proxy sees the name
       of a host and never a key, a prompt or a picture.
    2. This machine is never asked for through it.
    3. Behind a tunnel nobody here sees which address is connected to, so what a
       server named (media, places to upload to) goes through it only if the proxy
       itself refuses private addresses: `is_filtering`.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote, urlsplit

from attrs import Attribute, field, frozen

from falq.errors import ConfigError
from falq.gateways import HeaderSecret, Secret, is_loopback

_NEVER_IN_AN_ADDRESS = frozenset("?#\\ ")


def _check_address(_: Proxy, __: Attribute[str], address: str) -> None:
    try:
        parts = urlsplit(address) if isinstance(address, str) else None
        is_whole = parts is not None and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, is_whole = None, False
    if parts is None or not is_whole or not _NEVER_IN_AN_ADDRESS.isdisjoint(str(address)):
        # Not shown: whoever wrote it wrongly may have written a password into it.
        raise ConfigError(
            "proxy is an address such as 'http://proxy.example.com:3128', with 'user:password@' "
            "before the host if it asks for them",
            setting="proxy",
        )
    if parts.scheme not in {"http", "https"}:
        raise ConfigError(
            "proxy is an http:// or https:// address; SOCKS is not supported", setting="proxy"
        )
    if "@" in parts.netloc or parts.path not in {"", "/"}:
        raise ConfigError(
            "the address of a proxy has no user name and no path; Proxy.parse takes it apart",
            setting="proxy",
        )


def _as_secret(login: str | Secret | None) -> Secret | None:
    return Secret(login) if isinstance(login, str) else login


def _as_names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in names if name.strip())


@frozen(kw_only=True)
class Proxy:
    """An HTTP proxy that tunnels `https://`.

    Attributes:
        address: `http://` or `https://`, host and port.
        login: `user:password`, if it asks for them; shown nowhere.
        bypass: Hosts that are reached without it: names, which stand for their
            subdomains as well, addresses, networks such as `10.0.0.0/8`, or `*`.
        is_filtering: Whether it refuses to connect to private addresses. Only then do
            downloads and uploads, whose hosts a server names, go through it.

    Raises:
        ConfigError: The address is none of a proxy. It is not shown.

    Example:
        >>> Proxy.parse("http://me:secret@proxy.example.com:3128")
        Proxy(address='http://proxy.example.com:3128', bypass=(), is_filtering=False)
    """

    address: str = field(validator=_check_address)
    login: Secret | None = field(default=None, repr=False, converter=_as_secret)
    bypass: tuple[str, ...] = field(default=(), converter=_as_names)
    is_filtering: bool = False

    @classmethod
    def parse(
        cls, url: str | Secret, *, bypass: Iterable[str] = (), is_filtering: bool = False
    ) -> Proxy:
        """Return the proxy that a URL names, with its user name and password if it has them.

        Args:
            url: `http://[user:password@]host:port`; `http://` may be left out.
            bypass: See `Proxy`.
            is_filtering: See `Proxy`.

        Raises:
            ConfigError: It names none.
        """
        # Whatever refuses it shall not have a password among its locals.
        url = url if isinstance(url, Secret) else Secret(url)
        address, login = _take_apart(url)
        return cls(address=address, login=login, bypass=tuple(bypass), is_filtering=is_filtering)

    def serves(self, url: str) -> bool:
        """Return whether a request to `url` goes through it."""
        parts = urlsplit(url)
        host = (parts.hostname or "").lower().rstrip(".")
        if parts.scheme not in {"https", "wss"} or not host or is_loopback(host):
            return False
        return not any(_is_meant(name, host, parts.port or 443) for name in self.bypass)

    def arguments_for(self, url: str) -> dict[str, Any]:
        """Return what aiohttp's client is given so that a request to `url` goes through it.

        Nothing, if it does not.
        """
        if not self.serves(url):
            return {}
        headers = {}
        if self.login is not None:
            # As a header: aiohttp's own pair of user and password shows both in its repr.
            coded = base64.b64encode(self.login.reveal().encode()).decode()
            headers["Proxy-Authorization"] = HeaderSecret(f"Basic {coded}")
        return {"proxy": self.address, "proxy_headers": headers}

    def check_filtering(self, url: str) -> None:
        """Refuse to reach through it for a URL that a server named, unless it is filtering.

        Raises:
            ConfigError: It would be reached through a proxy that is not.
        """
        if self.serves(url) and not self.is_filtering:
            raise ConfigError(
                "media are not fetched, and files not uploaded, through a proxy that may connect "
                "to private addresses: falq cannot see where it leads. If yours refuses them, say "
                "Proxy(is_filtering=True), or FALQ_PROXY_IS_FILTERING=1",
                setting="proxy",
            )


def _take_apart(url: Secret) -> tuple[str, Secret | None]:
    text = url.reveal()
    scheme, _, rest = (text if "://" in text else f"http://{text}").partition("://")
    login, has_login, host = rest.rpartition("@")
    address = f"{scheme.lower()}://{host}".rstrip("/")
    return address, Secret(unquote(login)) if has_login else None


def _is_meant(name: str, host: str, port: int) -> bool:
    """Return whether an entry of a `NO_PROXY` list means a host."""
    if name == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(name.strip("[]"), strict=False)
    except ValueError:
        own, _, own_port = name.rpartition(":")
        if own and own_port.isdecimal():
            if int(own_port) != port:
                return False
            name = own
        name = name.removeprefix("*").removeprefix(".")
        return host == name or host.endswith(f".{name}")
