"""The command that brings files to fal's storage.

Owns what it prints: a line of data for each file, as soon as it is there. It
never decides an exit code of a failure (`failures`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from falq.cli.failures import OK
from falq.cli.output import Output, describe_size
from falq.media import UploadProgress
from falq.media.upload_source import check_file
from falq.model import ObjectLifecycle
from falq.session import Session


class _Told:
    """Tells of a large file at every tenth of it."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._tenths = 0

    def __call__(self, progress: UploadProgress) -> None:
        tenths = 10 * progress.sent_bytes // max(progress.total_bytes, 1)
        if tenths > self._tenths:
            self._tenths = tenths
            shown = f"{describe_size(progress.sent_bytes)} of {describe_size(progress.total_bytes)}"
            self._output.note(f"{progress.file_name}: {shown}", style="dim")


async def upload(paths: Sequence[Path], output: Output, *, expires_s: int | None) -> int:
    """Upload files one after the other and print their URLs.

    Args:
        paths: Which.
        output: Where to.
        expires_s: Seconds that they live; None leaves it to the account.

    Raises:
        ArgumentError: One of them cannot be read; none was sent.
    """
    for path in paths:
        check_file(path)
    lifecycle = None if expires_s is None else ObjectLifecycle(expiration_s=expires_s)
    async with Session() as session:
        for path in paths:
            url = await session.upload_file(path, lifecycle=lifecycle, on_progress=_Told(output))
            output.data({"path": str(path), "url": url})
    return OK
