"""Measure what importing costs, by CPU time in fresh interpreters.

Owns the commands that are compared. They are run in turn, so that a slow moment of
the machine meets all; a figure is the median of its rounds. A ratio is the median of
the rounds' own, with the empty interpreter taken off both sides.

What the rows say: `falq` loads what needs a network at its first use, so that
`import falq` alone is less than what an app pays that opens a session.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from machine import describe_machine

ROWS: dict[str, Sequence[str]] = {
    "python -c pass": ["-c", "pass"],
    "import aiohttp, cattrs": ["-c", "import aiohttp, cattrs"],
    "import falq": ["-c", "import falq"],
    "import falq; falq.Session": ["-c", "import falq; falq.Session"],
    "falq --help": ["-m", "falq", "--help"],
}
EMPTY, COMPARED = "python -c pass", "import aiohttp, cattrs"


def cpu_s(arguments: Sequence[str]) -> float:
    """Return the CPU seconds of one interpreter from its start to its end."""
    child = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    # So that it is not waited for again.
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)} ended with {child.returncode}")
    return used.ru_utime + used.ru_stime


def run(rounds: int) -> dict[str, Any]:
    """Make all measurements and return the report."""
    for arguments in ROWS.values():
        # Writes what is compiled once, and warms the files.
        cpu_s(arguments)
    found: dict[str, list[float]] = {name: [] for name in ROWS}
    for _ in range(rounds):
        for name, arguments in ROWS.items():
            found[name].append(cpu_s(arguments))
    return {
        "machine": describe_machine(),
        "settings": {"rounds": rounds},
        "startup": {
            name: {
                "cpu_s": statistics.median(times),
                "cpu_s_range": [min(times), max(times)],
                "ratio": _ratio(found, name),
            }
            for name, times in found.items()
        },
    }


def _ratio(found: Mapping[str, Sequence[float]], name: str) -> float:
    rounds = zip(found[name], found[COMPARED], found[EMPTY], strict=True)
    return statistics.median((one - empty) / (other - empty) for one, other, empty in rounds)


def show(report: Mapping[str, Any]) -> None:
    """Print the report as the table of `docs/benchmarks.md`."""
    print("| command | CPU, s | to aiohttp and cattrs |\n|---|---|---|")
    for name, row in report["startup"].items():
        low, high = row["cpu_s_range"]
        print(f"| `{name}` | {row['cpu_s']:.3f} [{low:.3f} to {high:.3f}] | {row['ratio']:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--smoke", action="store_true", help="one round")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--json", type=Path, help="write the report to this file")
    given = parser.parse_args()
    report = run(1 if given.smoke else given.rounds)
    show(report)
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
