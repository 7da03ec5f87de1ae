"""Have the rows of a manifest checked against the schemas of their endpoints.

Owns when the schemas are asked for: once for each endpoint, after a first reading
has told which there are, and before a second one checks every row. What is checked
is `falq.models.checking`'s business, and what becomes of a bad row the manifest's.
The runner and `falq batch --dry-run` call it.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from attrs import evolve

from falq.batch.asking import open_asking
from falq.batch.checking import check_manifest
from falq.batch.entries import ManifestReport
from falq.batch.manifest import Manifest
from falq.gateways import Gateway
from falq.model import EndpointId
from falq.models import MODELS
from falq.models.checking import Validator
from falq.platform import Models
from falq.proxies import Proxy
from falq.secrets import Secret


async def check_arguments(
    manifest: Manifest,
    report: ManifestReport,
    gateway: Gateway,
    *,
    ssl_context: ssl.SSLContext | None = None,
    proxy: Proxy | Secret | None = None,
) -> ManifestReport:
    """Return what a check finds with the arguments of rows checked as well.

    From then on the manifest counts rows as bad whose endpoint cannot take them.

    Args:
        manifest: Checked once before.
        report: What that found.
        gateway: With its key.
        ssl_context: Whom to trust.
        proxy: Through whom to go, as for `Session`.

    Raises:
        UnsupportedError: The gateway reaches no schemas, and falq has none of its own.
        ConfigError: The package that checks is not installed.
        FalqError: A schema cannot be read. Nothing was submitted.

    If it is cancelled, rows are not checked.
    """
    async with open_asking(gateway, ssl_context=ssl_context, proxy=proxy) as send:
        validator = Validator(gateway, Models(send), MODELS)
        for endpoint in report.endpoints:
            await validator.prepare(EndpointId.parse(endpoint))

    def check(endpoint: str, arguments: Mapping[str, Any]) -> None:
        target = EndpointId.parse(endpoint)
        # One that no good row named so far has no schema here, and no row that runs.
        if validator.is_ready(target):
            validator.check_nowait(target, arguments)

    manifest.refuse_by(check)
    checked = await check_manifest(manifest)
    return evolve(checked, unchecked=validator.unknown)
