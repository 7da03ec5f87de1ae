"""Debian's Chromium, for tests that open a page in a real browser.

Owns how it is found and launched. It never fetches a browser: without one a test is
skipped with the command that brings it, and fails where `CI` is set.
"""

from __future__ import annotations

import os
import shutil

import pytest

LAUNCH_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Without a screen, and without calls of its own."""


def find_chromium() -> str:
    """Return where it is, or end the test."""
    chromium = shutil.which("chromium")
    if chromium is None:
        stop = pytest.fail if os.environ.get("CI") else pytest.skip
        stop("needs Chromium: apt-get install chromium")
    return chromium
