"""Run the emulator in a process of its own, for the benchmarks.

Owns that process's life: it prints one line of JSON with its address, and ends
when its standard input does. It never measures anything. `throughput` starts it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

from falq.emulator import Emulator, Scenario

MANY_RUNNERS = 1_000_000


async def serve(*, tls: bool, ca_file: Path, runners: int) -> None:
    """Serve until standard input ends."""
    async with Emulator(Scenario(runners=runners), tls=tls) as emulator:
        if tls:
            ca_file.write_bytes(emulator.ca_pem())  # noqa: ASYNC240  before the first request
        about = {"url": emulator.url, "key": emulator.key, "ca_file": str(ca_file) if tls else None}
        sys.stdout.write(json.dumps(about) + "\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--ca-file", type=Path, required=True)
    parser.add_argument("--core", type=int)
    parser.add_argument("--runners", type=int, default=MANY_RUNNERS, help="jobs that run at once")
    given = parser.parse_args()
    if given.core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {given.core})
    asyncio.run(serve(tls=given.tls, ca_file=given.ca_file, runners=given.runners))


if __name__ == "__main__":
    main()
