"""What holds for every test: how much Hypothesis tries, loopback only, and how many run at once.

Owns the Hypothesis profiles, the guard and the number of workers. `CI` in the
environment chooses `ci`; `HYPOTHESIS_PROFILE` names another, such as `deep`.
"""

from __future__ import annotations

import ipaddress
import os
import sys

import pytest
from hypothesis import HealthCheck, settings

# Each worker imports and collects everything once: more of them cost more than they save.
MAX_WORKERS = 4

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("dev", deadline=None)
settings.register_profile(
    "deep", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev")
)


class OutsideWorldError(BaseException):
    """A test wanted to leave this machine. No `except` in falq may turn it into an outcome."""


def _refuse_the_outside_world(event: str, arguments: tuple[object, ...]) -> None:
    if event != "socket.connect":
        return
    address = arguments[1]
    # A path of a Unix socket is text, a network address a tuple.
    if isinstance(address, tuple) and not _is_loopback(str(address[0])):
        raise OutsideWorldError(f"tests connect to loopback only, not to {address[0]}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


sys.addaudithook(_refuse_the_outside_world)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return one worker for each core; none, which starts at once, where files are named."""
    if any("::" in word or word.endswith(".py") for word in config.args):
        return 0
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    # A single worker would do what this process can do by itself.
    return min(cores, MAX_WORKERS) if cores > 1 else 0
