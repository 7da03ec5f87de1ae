"""Decide which addresses and URLs a download may use.

Owns the rule against a result that points into the reader's own network: a URL
is data that a model wrote. It never resolves names and opens no connection;
`download` asks it for each URL and, at the socket, for each address.

Rules:
    1. URLs are https, without a user name. http is for loopback, and only if
       the caller allows loopback.
    2. The address that is connected to must be public, whatever the name said.
    3. A URL that names loopback itself may reach loopback, if allowed, and
       nothing else.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from falq.errors import ArgumentError
from falq.gateways import is_loopback
from falq.text import printable

# `is_global` holds for these, yet each can carry an address that is not
# (promises p7): NAT64, 6to4, and Teredo for good measure.
_TUNNELS = tuple(
    ipaddress.ip_network(text)
    for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
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
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return is_public_address(str(parsed.ipv4_mapped))
        if parsed.scope_id or any(parsed in network for network in _TUNNELS):
            return False
    return parsed.is_global and not (
        parsed.is_multicast or parsed.is_unspecified or parsed.is_reserved
    )


def is_loopback_address(address: str) -> bool:
    """Return whether `address` is this machine's own, written plainly."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def check_media_url(url: str, *, allow_loopback: bool) -> bool:
    """Check a URL before anything is sent, and say where it may lead.

    Args:
        url: A URL from a result, or from a redirect.
        allow_loopback: Whether URLs that name loopback are let through.

    Returns:
        Whether it names loopback. If not, only public addresses may be used.

    Raises:
        ArgumentError: It is refused; the message says why.
    """
    shown = printable(repr(url), limit=160)
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


def _refusal(reason: str) -> ArgumentError:
    return ArgumentError(f"media URL {reason}; it was not fetched", argument="url")
