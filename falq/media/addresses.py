"""Decide which addresses and URLs a download may use.

Owns the rule against a result that points into the reader's own network: a URL
is data that a model wrote. It never resolves names and opens no connection;
`download` asks it for each URL and, at the socket, for each address.

Rules:
    1. URLs are https, without a user name. http is for loopback, and only if
       the caller allows loopback.
    2. The address that is connected to must be public, whatever the name said,
       or in a network that the caller names.
    3. A URL that names loopback itself may reach loopback, if allowed, and
       nothing else.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from attrs import frozen

from falq.errors import ArgumentError, ConfigError
from falq.gateways import is_loopback
from falq.text import printable

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Special or unassigned by the IANA registries (2026), yet `is_global` in some
# Pythons that falq runs on.
_CLOSED_V4 = tuple(
    ipaddress.IPv4Network(text) for text in ("192.0.0.0/24", "192.31.196.0/24", "192.88.99.0/24")
)
# All that is ever public. Outside are NAT64, site-local, and what has no use yet.
_OPEN_V6 = ipaddress.IPv6Network("2000::/3")
# Teredo, benchmarks, ORCHID, documentation and 6to4: most can carry an IPv4
# address that is not public.
_CLOSED_V6 = tuple(
    ipaddress.IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)


def is_public_address(address: str) -> bool:
    """Return whether `address` is one of the public internet.

    Args:
        address: An IPv4 or IPv6 address as the resolver gives it; a scope such
            as `%eth0` makes it a local one.

    Example:
        >>> is_public_address("1.1.1.1"), is_public_address("169.254.169.254")
        (True, False)
        >>> is_public_address("::ffff:127.0.0.1")
        False
    """
    parsed = _parse(address)
    if parsed is None:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        is_open = parsed in _OPEN_V6 and not parsed.scope_id
        return is_open and parsed.is_global and not any(parsed in one for one in _CLOSED_V6)
    is_special = parsed.is_multicast or parsed.is_reserved or parsed.is_unspecified
    return parsed.is_global and not is_special and not any(parsed in one for one in _CLOSED_V4)


def is_loopback_address(address: str) -> bool:
    """Return whether `address` is this machine's own, written plainly."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


@frozen
class AddressRule:
    """The addresses that a download may connect to: public ones and named networks.

    Attributes:
        networks: Networks that are allowed though they are not public.
    """

    networks: tuple[_Network, ...] = ()

    @staticmethod
    def parse(allow_private: Iterable[str]) -> AddressRule:
        """Return the rule for networks in CIDR form, such as `10.0.0.0/8`.

        Raises:
            ConfigError: One of them is no network.
        """
        networks = []
        for text in allow_private:
            try:
                networks.append(ipaddress.ip_network(text))
            except ValueError as error:
                raise ConfigError(
                    f"allow_private: {error}; write a network such as 10.0.0.0/8",
                    setting="allow_private",
                ) from None
        return AddressRule(tuple(networks))

    def allows(self, address: str) -> bool:
        """Return whether `address`, as the resolver gave it, may be connected to.

        Example:
            >>> AddressRule.parse(["10.0.0.0/8"]).allows("::ffff:10.1.2.3")
            True
        """
        if is_public_address(address):
            return True
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self.networks)


def check_media_url(url: str, *, allow_loopback: bool) -> bool:
    """Check a URL before anything is sent, and say where it may lead.

    Args:
        url: A URL from a result, or from a redirect.
        allow_loopback: Whether URLs that name loopback are let through.

    Returns:
        Whether it names loopback. If not, only the addresses of the rule may be used.

    Raises:
        ArgumentError: It is refused; the message says why.
    """
    shown = printable(repr(url.partition("?")[0]), limit=160)
    try:
        parts = urlsplit(url)
        host = parts.hostname
        parts.port  # noqa: B018  raises if it is no number
    except ValueError:
        host = None
    else:
        if host and parts.scheme in {"https", "http"} and "@" not in parts.netloc:
            names_loopback = is_loopback(host)
            if names_loopback and allow_loopback:
                return True
            if names_loopback:
                raise _refusal(f"{shown} points to this machine")
            if parts.scheme == "https":
                return False
            raise _refusal(f"{shown} is not encrypted")
    raise _refusal(f"{shown} is no https:// address without a user name")


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed


def _refusal(reason: str) -> ArgumentError:
    return ArgumentError(f"media URL {reason}; it was not fetched", argument="url")
