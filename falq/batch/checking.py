"""Check a manifest beside the event loop.

Owns the thread that reads it, and that the thread ends when nobody waits for it any
more: a program does not end before its threads do, and a pipe whose writer is silent
would hold it for ever. The runner and `falq batch --dry-run` call it.
"""

from __future__ import annotations

import asyncio
import threading

from falq.batch.entries import ManifestReport
from falq.batch.manifest import Manifest


async def check_manifest(manifest: Manifest) -> ManifestReport:
    """Return what `Manifest.check` does, without holding up the loop.

    Args:
        manifest: What to check.

    Raises:
        ArgumentError: The manifest cannot be read, or not twice.
        ConfigError: A package is missing.

    If it is cancelled the reading stops; what came through a pipe until then is gone.
    """
    stopped = threading.Event()
    try:
        return await asyncio.to_thread(manifest.check, stopped=stopped)
    finally:
        stopped.set()
