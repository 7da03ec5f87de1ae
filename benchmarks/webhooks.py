"""Measure what it takes to tell a delivery of fal's from a forgery, by size.

Owns the deliveries: signed, signed by a stranger, and their bodies, which are one
long text or many pictures. `verify` reads the body's JSON once it is believed,
`verify_signature` never does. Times are of the thread's processor, in milliseconds,
so that what the machine does beside it is not in them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from machine import describe_machine

from falq.errors import SignatureError
from falq.webhooks import verify, verify_signature

NOW = 1_767_225_600
MIB = 1024 * 1024


def bodies(size_bytes: int) -> dict[str, bytes]:
    """Return bodies of about a size, by what is in them."""
    picture = {"url": "https://v3.fal.media/files/cat/00000000.png", "width": 512, "height": 512}
    count = max(1, size_bytes // (len(json.dumps(picture)) + 2))
    payloads = {"one text": {"text": "x" * size_bytes}, "pictures": {"images": [picture] * count}}
    facts = {"request_id": "r-1", "gateway_request_id": "r-1", "status": "OK"}
    return {name: json.dumps({**facts, "payload": one}).encode() for name, one in payloads.items()}


def signed(key: Ed25519PrivateKey, body: bytes) -> dict[str, str]:
    """Return the headers of a delivery as fal signs them."""
    message = f"r-1\nuser\n{NOW}\n{hashlib.sha256(body).hexdigest()}".encode()
    return {
        "x-fal-webhook-request-id": "r-1",
        "x-fal-webhook-user-id": "user",
        "x-fal-webhook-timestamp": str(NOW),
        "x-fal-webhook-signature": key.sign(message).hex(),
    }


def times_ms(work: Callable[[], object], rounds: int) -> dict[str, float]:
    """Return the median and the 99th of a hundred, in milliseconds."""
    found = []
    for _ in range(rounds):
        started = time.thread_time()
        work()
        found.append(1e3 * (time.thread_time() - started))
    cuts = statistics.quantiles(found, n=100, method="inclusive")
    return {"p50_ms": cuts[49], "p99_ms": cuts[98]}


def _refuse(work: Callable[[], object]) -> None:
    try:
        work()
    except SignatureError:
        return
    raise AssertionError("a forgery was believed")


def run(rounds: int) -> dict[str, Any]:
    """Make all measurements and return the report."""
    key, stranger = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    keys = [key.public_key().public_bytes_raw()]
    found: dict[str, Any] = {}
    for size_bytes in (1024, MIB):
        for name, body in bodies(size_bytes).items():
            good, bad = signed(key, body), signed(stranger, body)

            def check(
                judge: Callable[..., object] = verify,
                headers: Mapping[str, str] = good,
                body: bytes = body,
            ) -> object:
                return judge(headers, body, keys=keys, now=NOW)

            found[f"{name}, {size_bytes // 1024:,} KiB"] = {
                "forgery refused": times_ms(
                    lambda check=check, bad=bad: _refuse(lambda: check(headers=bad)), rounds
                ),
                "verify_signature": times_ms(lambda check=check: check(verify_signature), rounds),
                "verify": times_ms(check, rounds),
            }
    return {"machine": describe_machine(), "rounds": rounds, "deliveries": found}


def show(report: Mapping[str, Any]) -> None:
    """Print the report as the table of `docs/benchmarks.md`."""
    print("| delivery | forgery refused, ms | `verify_signature` | `verify` |")
    print("|---|---|---|---|")
    for name, row in report["deliveries"].items():
        cells = [f"{one['p50_ms']:.2f} ({one['p99_ms']:.2f})" for one in row.values()]
        print(f"| {name} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--smoke", action="store_true", help="a few rounds")
    parser.add_argument("--rounds", type=int, default=1000, help="deliveries for each figure")
    parser.add_argument("--json", type=Path, help="write the report to this file")
    given = parser.parse_args()
    report = run(5 if given.smoke else given.rounds)
    show(report)
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
