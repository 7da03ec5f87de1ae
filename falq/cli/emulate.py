"""The command that runs an emulator until Ctrl-C.

Owns the lines that tell how to reach it and the counts at its end. The emulator
itself is `falq.emulator`.
"""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path

from attrs import asdict

from falq.cli.output import Output, describe_count
from falq.cli.own_flags import EmulatorFlags
from falq.cli.running import Interrupted
from falq.emulator import Emulator, Scenario
from falq.errors import ConfigError
from falq.gateways import is_loopback


async def emulate(flags: EmulatorFlags, output: Output) -> int:
    """Run an emulator until it is interrupted."""
    scenario = None if flags.scenario is None else Scenario.load(flags.scenario)
    emulator = Emulator(
        scenario,
        host=flags.host,
        port=flags.port,
        tls=flags.tls,
        runners=flags.runners,
        speed=flags.speed,
        seed=flags.seed,
    )
    try:
        await emulator.start()
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {flags.host}:{flags.port}: {error.strerror or error}; "
            "choose another --port",
            setting="port",
        ) from None
    try:
        await _tell_how_to_reach(emulator, flags, output)
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        _tell_counts(emulator, output)
        raise Interrupted from None
    finally:
        await emulator.aclose()
    return 0


async def _tell_how_to_reach(emulator: Emulator, flags: EmulatorFlags, output: Output) -> None:
    variables = {"FALQ_BASE_URL": emulator.url, "FAL_KEY": emulator.key}
    if flags.tls:
        path = (flags.ca_file or Path("falq-emulator-ca.pem")).absolute()
        await asyncio.to_thread(path.write_bytes, emulator.ca_pem())
        variables["SSL_CERT_FILE"] = str(path)
    if output.is_json:
        output.data(variables | {"MATON_API_KEY": emulator.maton_key})
        return
    output.note("A fal queue on this machine. In another terminal:", style="bold")
    words = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    output.line(f"export {' '.join(words)}")
    output.note("then: falq subscribe fal-ai/flux/schnell prompt='a tiny cute cat' --download out")
    output.note(
        f"As Maton: export FALQ_GATEWAY=maton MATON_API_KEY={emulator.maton_key} "
        f"FALQ_BASE_URL={emulator.maton.base_url}",
        style="dim",
    )
    output.note(f"Counts: {emulator.url}/_emulator/stats. Ctrl-C ends it.", style="dim")
    if flags.host in {"0.0.0.0", "::"}:  # noqa: S104  what was asked for, not a default
        output.note(
            "It listens on every address, and its URLs name this machine's own: for clients on "
            "other machines give --host with the address that they use, and --tls.",
            style="yellow",
        )
    elif not flags.tls and not is_loopback(flags.host):
        output.note(
            "Clients on other machines need --tls: no key is sent unencrypted.", style="yellow"
        )


def _tell_counts(emulator: Emulator, output: Output) -> None:
    counts = emulator.stats()
    if output.is_json:
        output.data(asdict(counts))
        return
    by_state = [f"{count} {state}" for state, count in counts.jobs_by_state.items() if count]
    output.note(
        f"\n{describe_count(counts.jobs, 'job')} ({', '.join(by_state) or 'none'}), "
        f"{counts.in_progress_peak} in progress at most, "
        f"{counts.polls_mean:.1f} polls per job, "
        f"{describe_count(sum(counts.calls.values()), 'call')} on "
        f"{describe_count(counts.connections, 'connection')}"
    )
