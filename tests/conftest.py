"""What holds for every test: how much Hypothesis tries, and loopback only.

Owns the Hypothesis profiles and the guard. `CI` in the environment chooses
`ci`; `HYPOTHESIS_PROFILE` names another, such as `deep`.
"""

from __future__ import annotations

import ipaddress
import os
import sys

from hypothesis import HealthCheck, settings

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
