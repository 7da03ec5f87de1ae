"""Say what a figure was measured on.

Owns the description that goes into every results file. It measures nothing.
"""

from __future__ import annotations

import hashlib
import os
import platform
import ssl
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import falq


def describe_machine() -> dict[str, object]:
    """Return processor, cores, system, Python, packages and load of this moment."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    packages = ("falq", "aiohttp", "fal-client", "httpx")
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "system": platform.release(),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "falq_source": digest_of_source(),
        "packages": {name: version(name) for name in packages},
        "load_average": os.getloadavg(),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def digest_of_source() -> str:
    """Return a digest of falq's modules: which code the figures are of."""
    folder = Path(falq.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
