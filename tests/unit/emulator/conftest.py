"""A model whose every answer is known, and factories for the emulator's pure parts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from attrs import frozen

from falq.emulator import App, Reply, Request, Scenario
from falq.emulator.files import MediaShelf
from falq.emulator.models.base import Answer, FileShelf
from falq.emulator.state import Queue

KEY = Scenario().keys[0]


@frozen
class Runner:
    """Runs for `run_s` of its input, or 10 seconds; answers with the input."""

    def run_time_s(self, arguments: object, *, draw: float) -> float:
        if isinstance(arguments, dict) and "run_s" in arguments:
            return float(arguments["run_s"])
        return 10.0 + draw

    def logs(self, arguments: object) -> tuple[str, ...]:
        return ("one", "two", "three")

    def run(self, arguments: object, *, seed: int, files: FileShelf) -> Answer:
        if isinstance(arguments, dict) and arguments.get("is_wrong"):
            entry = {"loc": ["body", "prompt"], "msg": "Field required", "type": "missing"}
            return Answer(body={"detail": [entry]}, status_code=422, billable_units=0)
        return Answer(body=arguments)


class Client:
    """Calls an `App` the way HTTP would."""

    def __init__(self, app: App) -> None:
        self.app = app

    def call(
        self,
        method: str,
        path: str,
        *,
        now: float = 0.0,
        body: Any = None,
        headers: dict[str, str] | None = None,
        query: str = "",
    ) -> Reply:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.app.handle(
            Request(
                method=method,
                path=path,
                query=query,
                headers={"authorization": f"Key {KEY}"} | (headers or {}),
                body=b"" if body is None else data,
            ),
            now,
        )

    def submit(
        self, body: Any = None, *, endpoint: str = "acme/thing/fast", **more: Any
    ) -> dict[str, Any]:
        reply = self.call("POST", f"/{endpoint}", body={} if body is None else body, **more)
        assert reply.status_code == 200, reply
        return json.loads(reply.body)

    def about(
        self, request_id: str, verb: str = "", *, app: str = "acme/thing", **more: Any
    ) -> Reply:
        method = "PUT" if verb == "/cancel" else "GET"
        return self.call(method, f"/{app}/requests/{request_id}{verb}", **more)


@pytest.fixture
def make_app() -> Callable[..., Client]:
    def make(*, base_url: str = "http://127.0.0.1:9", **settings: Any) -> Client:
        return Client(App(Scenario(**settings), find_model=lambda _: Runner(), base_url=base_url))

    return make


@pytest.fixture
def make_queue() -> Callable[..., Queue]:
    return build_queue


def build_queue(**settings: Any) -> Queue:
    return Queue(
        Scenario(**settings),
        files=MediaShelf("http://127.0.0.1:9"),
        find_model=lambda _: Runner(),
    )
