"""Compare Python's json with orjson on the bodies that falq reads and writes.

Owns the bodies and the question whether both say the same. It decides nothing: falq
uses Python's json, and `docs/benchmarks.md` says why. orjson is no dependency of
falq's; without it only json's column is there.

The bodies are made from a seed: a status, a result with one picture, one with a
thousand (100 KB), a transcription of words with times (1 MB), a picture as a data URL
(1 MB), and the arguments of a submit. A time is the best of its rounds, in
microseconds: what the machine does beside it only adds.
"""

from __future__ import annotations

import argparse
import base64
import importlib
import importlib.util
import json
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from machine import describe_machine

SEED = 20261121
ODD = {
    "integer of 65 bits": b"18446744073709551616",
    "integer of 30 digits": b"123456789012345678901234567890",
    "NaN": b"NaN",
    "number beyond floats": b"1e400",
    "half a surrogate pair": b'"\\ud800"',
    "a key twice": b'{"seed":1,"seed":2}',
    "minus zero": b"-0",
    "a control character": b'"\x01"',
}
"""What JSON texts may hold that readers disagree on."""


def bodies() -> dict[str, Any]:
    """Return values by name, as large as results are."""
    chance = random.Random(SEED)

    def picture() -> dict[str, Any]:
        return {
            "url": f"https://v3.fal.media/files/cat/{chance.getrandbits(96):x}.png",
            "width": 1024,
            "height": 768,
            "content_type": "image/png",
        }

    def result(pictures: int) -> dict[str, Any]:
        return {
            "images": [picture() for _ in range(pictures)],
            "timings": {"inference": chance.random()},
            "seed": chance.getrandbits(48),
            "has_nsfw_concepts": [False] * pictures,
            "prompt": "a tiny cute cat",
        }

    def word(place: int) -> dict[str, Any]:
        return {
            "text": f" word{chance.randrange(9999)}",
            "timestamp": [place * 0.31, place * 0.31 + chance.random()],
            "speaker": None,
        }

    data = base64.b64encode(chance.randbytes(750_000)).decode()
    return {
        "status": {
            "status": "COMPLETED",
            "request_id": "764cabcf-b745-4b3e-ae38-1200304cf45b",
            "logs": None,
            "metrics": {"inference_time": 2.618723392486572},
        },
        "result, one picture": result(1),
        "result, 100 KB": result(690),
        "transcription, 1 MB": {"chunks": [word(place) for place in range(11_500)]},
        "data URL, 1 MB": {"images": [{"url": f"data:image/png;base64,{data}"}]},
        "arguments": {
            "prompt": "a tiny cute cat, in the style of a woodcut, " * 5,
            "num_inference_steps": 28,
            "image_size": {"width": 1024, "height": 768},
            "seed": chance.getrandbits(48),
            "loras": [{"path": picture()["url"], "scale": 0.8}],
        },
    }


def best_us(work: Callable[[], object], within_s: float) -> float:
    """Return the least time that `work` takes, in microseconds."""
    started = time.perf_counter()
    work()
    times = max(1, int(0.002 / (time.perf_counter() - started + 1e-9)))
    best_s, ends = float("inf"), time.perf_counter() + within_s
    while (before := time.perf_counter()) < ends:
        for _ in range(times):
            work()
        best_s = min(best_s, (time.perf_counter() - before) / times)
    return 1e6 * best_s


def run(within_s: float) -> dict[str, Any]:
    """Make all measurements and return the report."""
    found: dict[str, dict[str, float]] = {}
    fast = importlib.import_module("orjson") if importlib.util.find_spec("orjson") else None
    encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
    for name, value in bodies().items():
        body = encode(value).encode()
        row = found[name] = {"bytes": len(body)}
        row["json_read_us"] = best_us(lambda body=body: json.loads(body.decode()), within_s)
        row["json_write_us"] = best_us(lambda value=value: encode(value).encode(), within_s)
        if fast is not None:
            row["orjson_read_us"] = best_us(lambda body=body: fast.loads(body), within_s)
            row["orjson_write_us"] = best_us(lambda value=value: fast.dumps(value), within_s)
    report: dict[str, Any] = {"machine": describe_machine(), "bodies": found}
    if fast is not None:
        report["machine"]["packages"]["orjson"] = fast.__version__
        report["differ"] = {
            name: [_read(json.loads, text), _read(fast.loads, text)]
            for name, text in ODD.items()
            if _read(json.loads, text) != _read(fast.loads, text)
        }
    return report


def _read(load: Callable[[bytes], Any], text: bytes) -> str:
    try:
        return repr(load(text))
    except ValueError:
        return "refused"


def show(report: Mapping[str, Any]) -> None:
    """Print the report as the tables of `docs/benchmarks.md`."""
    print("| body | bytes | read, µs: json | orjson | write, µs: json | orjson |")
    print("|---|---|---|---|---|---|")
    names = ("json_read_us", "orjson_read_us", "json_write_us", "orjson_write_us")
    for body, row in report["bodies"].items():
        cells = [f"{row[name]:,.1f}" if name in row else "-" for name in names]
        print(f"| {body} | {row['bytes']:,} | {' | '.join(cells)} |")
    for name, (ours, theirs) in report.get("differ", {}).items():
        print(f"{name}: json {ours}, orjson {theirs}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--smoke", action="store_true", help="a moment for each")
    parser.add_argument("--within-s", type=float, default=1.0, help="seconds for each figure")
    parser.add_argument("--json", type=Path, help="write the report to this file")
    given = parser.parse_args()
    report = run(0.01 if given.smoke else given.within_s)
    show(report)
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
