"""Check that everything a job needs is in place, and say what to do where it is not.

Owns the checks and their words. It sends two harmless calls at most: one asks for
the status of a made-up request, one asks Maton for its connections. It never shows
a key, and never spends anything.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import os
import platform
import time
import uuid
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Literal
from urllib.parse import urlsplit

from attrs import asdict, frozen

from falq._core.messages import CallLimits, CallTimeouts, Reply
from falq._core.protocol import build_status, make_ticket
from falq._transport.aio import AioTransport
from falq._version import __version__
from falq.cli.failures import OK, SETUP
from falq.cli.loops import describe_loop
from falq.cli.output import Output
from falq.config import build_config, resolve_proxy
from falq.connections import list_connections
from falq.errors import AuthenticationError, ConfigError, FalqError
from falq.gateways import Gateway, Maton
from falq.model import EndpointId
from falq.text import printable

Level = Literal["ok", "warn", "fail"]

MOST_SKEW_S = 60.0
"""Clocks further apart than this make webhooks and time stamps doubtful."""

# fal's most used app: the call asks for a request of it that does not exist.
_PROBED_ENDPOINT = "fal-ai/flux"
_TIMEOUTS = CallTimeouts(connect_s=5.0, read_s=10.0, total_s=10.0)
_MARKS: Mapping[Level, str] = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}
_EXTRAS: Mapping[str, tuple[str, ...]] = {
    "cli": ("cyclopts", "rich"),
    "emulator": ("PIL", "trustme"),
    "report": ("jinja2",),
    "video": ("av",),
    "parquet": ("pyarrow",),
    "schema": ("jsonschema",),
    "webhooks": ("cryptography",),
    "realtime": ("msgpack",),
    "mcp": ("mcp",),
    "otel": ("opentelemetry",),
    # There is no uvloop for Windows, and nothing to advise.
    **({} if os.name == "nt" else {"speed": ("uvloop",)}),
}


@frozen
class Finding:
    """What one check found.

    Attributes:
        level: `ok`, `warn`, or `fail` if no job can run like this.
        subject: What was looked at.
        text: What was found, and what to do about it.
    """

    level: Level
    subject: str
    text: str


async def doctor(output: Output) -> int:
    """Run every check, print each finding and return the exit code."""
    findings = [*check_versions()]
    gateway, about_key = check_gateway(os.environ)
    findings += about_key
    if gateway is not None:
        findings += await check_queue(gateway)
        if isinstance(gateway, Maton):
            findings.append(await check_connection(gateway))
    for finding in findings:
        _tell(finding, output)
    has_failed = any(finding.level == "fail" for finding in findings)
    if not output.is_json:
        output.note("")
        output.note("not ready: see the lines marked FAIL" if has_failed else "ready")
    return SETUP if has_failed else OK


def _tell(finding: Finding, output: Output) -> None:
    if output.is_json:
        output.data(asdict(finding))
        return
    output.line(f"{_MARKS[finding.level]}  {finding.subject:<10}  {finding.text}")


def check_versions() -> list[Finding]:
    """Return the versions, and which extras are there."""
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("aiohttp", "anyio", "attrs")
    )
    present = [name for name, parts in _EXTRAS.items() if all(map(_is_installed, parts))]
    lacking = [name for name in _EXTRAS if name not in present]
    text = f"installed: {', '.join(present) or 'none'}"
    if lacking:
        text += f"; not: {', '.join(lacking)} (pip install 'falq[{','.join(lacking)}]')"
    return [
        Finding(
            "ok", "versions", f"falq {__version__}, Python {platform.python_version()}, {versions}"
        ),
        Finding("ok", "extras", text),
        Finding("ok", "loop", describe_loop(asyncio.get_running_loop())),
    ]


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def check_gateway(environ: Mapping[str, str]) -> tuple[Gateway | None, list[Finding]]:
    """Return the gateway that sessions would use, why, and what is said of its key.

    Args:
        environ: Such as `os.environ`.
    """
    try:
        gateway = build_config(environ).gateway
    except ConfigError as error:
        subject = "key" if "KEY" in (error.setting or "") else "settings"
        return None, [Finding("fail", subject, str(error))]
    is_maton = isinstance(gateway, Maton)
    variable = "MATON_API_KEY" if is_maton else "FAL_KEY"
    if not is_maton and not environ.get("FAL_KEY"):
        variable = "FAL_KEY_ID and FAL_KEY_SECRET"
    where = f"{gateway.name} at {gateway.queue_root}"
    if environ.get("FALQ_GATEWAY"):
        reason = "FALQ_GATEWAY says so"
    elif not is_maton and environ.get("MATON_API_KEY"):
        reason = "FAL_KEY comes before MATON_API_KEY; FALQ_GATEWAY=maton changes that"
    else:
        reason = f"because of {variable}"
    if environ.get("FALQ_BASE_URL"):
        reason += ", address from FALQ_BASE_URL"
    form = "is set" if is_maton else "is set and has the form <id>:<secret>"
    return gateway, [
        Finding("ok", "key", f"{variable} {form}"),
        Finding("ok", "gateway", f"{where} ({reason})"),
    ]


async def check_queue(gateway: Gateway) -> list[Finding]:
    """Ask the queue for a request that does not exist; return what its answer shows."""
    ticket = make_ticket(EndpointId.parse(_PROBED_ENDPOINT), str(uuid.uuid4()))
    transport = AioTransport(
        gateway, timeouts=_TIMEOUTS, limits=CallLimits(), proxy=resolve_proxy(None)
    )
    await transport.open()
    before = time.time()
    try:
        reply = await transport.send(build_status(ticket, logs=False))
    except FalqError as error:
        return [Finding("fail", "network", f"{gateway.queue_root} does not answer: {error}")]
    finally:
        await transport.aclose()
    # The server's clock has whole seconds, read at some moment of the call.
    return [read_queue_reply(reply, gateway), read_clock(reply, (before + time.time()) / 2)]


def read_queue_reply(reply: Reply, gateway: Gateway) -> Finding:
    """Return what the answer about a made-up request shows."""
    code = reply.status_code
    variable = "MATON_API_KEY" if isinstance(gateway, Maton) else "FAL_KEY"
    if code in {401, 403}:
        return Finding("fail", "network", f"the key is refused ({code}); copy {variable} again")
    if code == 400 and isinstance(gateway, Maton):
        text = "Maton has no fal-ai connection for this key; see 'falq connections list'"
        return Finding("fail", "network", text)
    if code in {404, 200, 202}:
        # fal was seen to answer 404 before it looks at the key (2026-09), so this
        # shows that the key was not refused, not more.
        text = "the queue answers and did not refuse the key; the first job is the proof"
        return Finding("ok", "network", text)
    level: Level = "warn" if code >= 500 or code == 429 else "fail"
    return Finding(level, "network", f"unexpected answer {code} from {gateway.queue_root}")


def read_clock(reply: Reply, now: float) -> Finding:
    """Return how far this clock and the server's are apart.

    Args:
        reply: Any answer.
        now: This machine's Unix time in the middle of the call.
    """
    text = reply.headers.get("date")
    try:
        skew_s = now - parsedate_to_datetime(text or "").timestamp()
    except (ValueError, TypeError):
        return Finding("ok", "clock", "the server did not tell the time")
    direction = "ahead of" if skew_s > 0 else "behind"
    apart = f"this clock is {abs(skew_s):.0f} s {direction} the server's"
    if abs(skew_s) > MOST_SKEW_S:
        return Finding("warn", "clock", f"{apart}; set it, or signed webhooks look stale")
    return Finding("ok", "clock", apart if abs(skew_s) >= 2 else "agrees with the server's")


async def check_connection(gateway: Maton) -> Finding:
    """Ask Maton whether an ACTIVE fal-ai connection exists."""
    default = Maton(key="none")
    if gateway.base_url != default.base_url and gateway.control_url == default.control_url:
        text = f"not asked: the gateway is {urlsplit(gateway.base_url).hostname}, and the key "
        return Finding("warn", "connection", f"{text}was not given to another host")
    try:
        connections = await list_connections(gateway, timeouts=_TIMEOUTS)
    except AuthenticationError as error:
        return Finding("fail", "connection", str(error))
    except FalqError as error:
        return Finding("warn", "connection", f"could not be asked for: {error}")
    active = [one for one in connections if one.is_active]
    if active:
        return Finding("ok", "connection", f"{len(active)} ACTIVE ({active[0].connection_id})")
    others = ", ".join(f"{one.connection_id} is {one.status}" for one in connections[:5])
    text = f"no ACTIVE fal-ai connection{f' ({others})' if others else ''}; make one with "
    return Finding("fail", "connection", printable(f"{text}'falq connections create --wait'"))
