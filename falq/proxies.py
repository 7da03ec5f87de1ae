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

from attrs import field, frozen

from falq.errors import ConfigError
from falq.gateways import is_loopback
from falq.secrets import HeaderSecret, Secret, hold, holds, show_made

_NEVER_IN_AN_ADDRESS = frozenset("?#\\ ")


_NO_ADDRESS = (
    "proxy is an address such as 'http://proxy.example.com:3128', with 'user:password@' "
    "before the host if it asks for them"
)


def _as_address(given: str | Secret) -> str:
    """Return a proxy's address.

    What it refuses is not among its locals, and not shown: whoever wrote it wrongly may
    have written a password into it.
    """
    given = hold(given)
    if not isinstance(given, Secret):
        raise ConfigError(_NO_ADDRESS, setting="proxy")
    fault = _fault_of(given)
    if fault is not None:
        raise ConfigError(fault, setting="proxy")
    return given.reveal()


def _fault_of(given: Secret) -> str | None:
    address = given.reveal()
    try:
        parts = urlsplit(address)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return _NO_ADDRESS
    if not is_whole or not _NEVER_IN_AN_ADDRESS.isdisjoint(address):
        return _NO_ADDRESS
    if parts.scheme not in {"http", "https"}:
        return "proxy is an http:// or https:// address; SOCKS is not supported"
    if "@" in parts.netloc or parts.path not in {"", "/"}:
        return "the address of a proxy has no user name and no path; Proxy.parse takes it apart"
    return None


def _as_login(given: str | Secret | None) -> Secret | None:
    given = hold(given)
    if given is not None and not isinstance(given, Secret):
        raise ConfigError("the login of a proxy is text, 'user:password'", setting="proxy")
    return given


def _as_names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in names if name.strip())


@holds("address", "login")
@frozen(kw_only=True, repr=False)
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

    address: str = field(converter=_as_address)
    login: Secret | None = field(default=None, repr=False, converter=_as_login)
    bypass: tuple[str, ...] = field(default=(), converter=_as_names)
    is_filtering: bool = False

    def __repr__(self) -> str:
        return show_made(self)

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
        url = hold(url)
        if not isinstance(url, Secret):
            raise ConfigError(_NO_ADDRESS, setting="proxy")
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


def _take_apart(url: Secret) -> tuple[Secret, Secret | None]:
    text = url.reveal()
    scheme, _, rest = (text if "://" in text else f"http://{text}").partition("://")
    login, has_login, host = rest.rpartition("@")
    address = Secret(f"{scheme.lower()}://{host}".rstrip("/"))
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
