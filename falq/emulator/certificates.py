"""A certificate authority for one emulator, made on the spot.

Owns the two TLS contexts, the server's and a client's, and the authority's
certificate. It never writes a file and trusts nothing else.
"""

from __future__ import annotations

import importlib
import ssl
from typing import Any

from attrs import field, frozen

from falq.errors import ConfigError


@frozen(kw_only=True)
class Certificates:
    """What one emulator needs to speak TLS.

    Attributes:
        server_context: For the server's socket.
        client_context: For clients; it trusts this emulator alone.
        ca_pem: Certificate of the authority, in PEM.
    """

    server_context: ssl.SSLContext = field(repr=False)
    client_context: ssl.SSLContext = field(repr=False)
    ca_pem: bytes = field(repr=False)


def make_certificates(host: str) -> Certificates:
    """Make an authority and a certificate for `host` and the loopback names.

    Raises:
        ConfigError: The package trustme is not installed.
    """
    trustme = _import_trustme()
    authority = trustme.CA()
    names = dict.fromkeys([host, "localhost", "127.0.0.1", "::1"])
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(server_context)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client_context)
    return Certificates(
        server_context=server_context,
        client_context=client_context,
        ca_pem=authority.cert_pem.bytes(),
    )


def _import_trustme() -> Any:
    try:
        return importlib.import_module("trustme")
    except ModuleNotFoundError as error:
        raise ConfigError(
            "tls=True needs the package trustme; run: pip install 'falq[emulator]'", setting="tls"
        ) from error
