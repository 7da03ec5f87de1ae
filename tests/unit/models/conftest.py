"""Virtual time: sessions here run against an emulator in memory."""

from __future__ import annotations

import pytest

from falq.testing import VirtualTimeLoop


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": VirtualTimeLoop}
