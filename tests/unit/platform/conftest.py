"""Virtual time, and a Platform API that is a list of replies."""

from __future__ import annotations

import pytest

from falq._core.messages import Call, Reply
from falq.platform import Tries
from falq.testing import VirtualTimeLoop
from tests.support import a_reply


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": VirtualTimeLoop}


class Script:
    """Answers each call with the next of its replies, or raises it; keeps the calls."""

    def __init__(self, *answers: object) -> None:
        self._answers = list(answers)
        self.calls: list[Call] = []

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        answer = self._answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, Reply) else a_reply(200, answer)


@pytest.fixture
def script() -> type[Script]:
    return Script


@pytest.fixture
def tries() -> Tries:
    """The longest draws, so that a wait is its ceiling."""
    return Tries(draw=lambda: 0.999999)
