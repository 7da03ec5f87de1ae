"""Realtime sockets and their tokens, without the sockets.

Owns the tokens that were handed out, the decision about a handshake, and what an
app answers to a message (fal-wire 7.3, 7.4). It never reads a clock, frames or
sends, and shares no code with the client; `routes` checks the key of a call for a
token and carries out its faults, `realtime_socket` talks.

| address | credential | what |
|---|---|---|
| `POST /_rest/tokens/`, `…/realtime` | key | a token |
| `/_run/{endpoint}/realtime` | token or key | the endpoint's model, message by message |
| `/_run/{endpoint}/…` | token or key | a raw socket, whose frames come back |

`/_run` may be left out: fal_client knows a host and no path.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from random import Random
from typing import Any
from urllib.parse import parse_qs, unquote

from attrs import field, frozen

from falq.emulator.addresses import NAMESPACES
from falq.emulator.endings import encode
from falq.emulator.files import MediaShelf
from falq.emulator.messages import Reply, Request
from falq.emulator.models.base import Model
from falq.emulator.scenario import Scenario
from falq.emulator.script import read_script

RUN_PREFIX = "/_run/"
TOKENS_PATH = "/_rest/tokens"
MOST_BUFFERING = 60

UNAUTHORIZED = {"status": "error", "error": "Unauthorized"}
IDLE = {
    "type": "x-fal-error",
    "error": "TIMEOUT",
    "reason": "The connection was idle; reconnect when needed",
}

_JSON = (("content-type", "application/json"),)
_NO_KEY = b'{"detail":"Authentication is required to access this application."}'
_UNKNOWN_KEY = b'{"detail":"No user found for Key ID and Secret"}'
_BAD_TOKEN = b'{"detail":"Invalid token"}'
_NAMES_OF_LIFE = {"": "token_expiration", "realtime": "duration"}


@frozen(kw_only=True)
class SocketOrder:
    """A handshake that was taken.

    Attributes:
        endpoint: Whose socket it is.
        is_realtime: Its messages go to the model; else its frames come back.
        max_buffering: Inputs that may wait; of more, the oldest are dropped.
        good_until: Instant at which its token ends.
        is_refused: Its token is wrong: the first and only frame says so.
    """

    endpoint: str
    is_realtime: bool
    max_buffering: int = MOST_BUFFERING
    good_until: float = float("inf")
    is_refused: bool = False


@frozen(kw_only=True)
class Run:
    """What an app does with one message.

    Attributes:
        run_s: How long it takes, in seconds.
        body: The result; None for an error.
        error: Why there is none.
    """

    run_s: float
    body: dict[str, Any] | None = None
    error: str = ""


@frozen
class _Token:
    apps: frozenset[str]
    good_until: float


@frozen
class RealtimeCounts:
    """What happened on sockets; changed in place by whoever talks."""

    counts: dict[str, int] = field(
        factory=lambda: dict.fromkeys(
            ("tokens", "sockets", "open", "messages", "results", "dropped"), 0
        )
    )

    def add(self, name: str, by: int = 1) -> None:
        """Add to one count."""
        self.counts[name] += by


class RealtimeDesk:
    """Hands out tokens and takes handshakes.

    Args:
        scenario: Its behavior.
        files: Where models leave media.
        model_of: Gives the model of an endpoint id.
    """

    def __init__(
        self, scenario: Scenario, files: MediaShelf, *, model_of: Callable[[str], Model]
    ) -> None:
        self._scenario = scenario
        self._files = files
        self._model_of = model_of
        self._tokens: dict[str, _Token] = {}
        self._chance = Random(f"{scenario.seed}/realtime")  # noqa: S311  chance for tests
        self._keys = frozenset(f"Key {key}" for key in scenario.keys)
        self.seen = RealtimeCounts()

    def is_token_call(self, request: Request) -> bool:
        """Return whether a call is for a token."""
        tail = request.path.removeprefix(TOKENS_PATH)
        return request.path.startswith(TOKENS_PATH) and tail.strip("/") in _NAMES_OF_LIFE

    def answer_token(self, request: Request, now: float) -> Reply:
        """Hand out a token."""
        name = request.path.removeprefix(TOKENS_PATH).strip("/")
        absent = {"classic": "realtime", "realtime": ""}.get(self._scenario.jwt_address)
        if absent == name:
            return Reply(status_code=404, headers=_JSON, body=b'{"detail":"Not Found"}')
        if request.method != "POST":
            headers = (*_JSON, ("allow", "POST"))
            return Reply(status_code=405, headers=headers, body=b'{"detail":"Method Not Allowed"}')
        try:
            apps, life_s = _read_wish(request.body, _NAMES_OF_LIFE[name])
        except ValueError as error:
            return Reply(status_code=422, headers=_JSON, body=encode({"detail": str(error)}))
        token = self._make_token(apps)
        self._tokens[token] = _Token(frozenset(apps), now + life_s)
        self.seen.add("tokens")
        forms = {"text": token, "token": {"token": token}, "detail": {"detail": token}}
        return Reply(status_code=200, headers=_JSON, body=encode(forms[self._scenario.jwt_form]))

    def _make_token(self, apps: list[str]) -> str:
        # Three parts with dots, as a JWT has; nothing reads what is in them.
        parts = (b'{"alg":"HS256","typ":"JWT"}', encode({"apps": apps}), self._chance.randbytes(32))
        return ".".join(base64.urlsafe_b64encode(one).decode().rstrip("=") for one in parts)

    def admit(self, request: Request, now: float) -> SocketOrder | Reply:
        """Take a handshake, or return the reply that refuses it."""
        query = parse_qs(request.query)
        parts = [unquote(one) for one in _without_prefix(request.path).strip("/").split("/")]
        app_length = 3 if parts[0] in NAMESPACES else 2
        if len(parts) < app_length or not all(parts):
            return Reply(status_code=404, headers=_JSON, body=b'{"detail":"Not Found"}')
        buffering = query.get("max_buffering", [str(MOST_BUFFERING)])[-1]
        if not buffering.isdecimal() or not 1 <= int(buffering) <= MOST_BUFFERING:
            body = encode({"detail": f"max_buffering must be from 1 to {MOST_BUFFERING}"})
            return Reply(status_code=422, headers=_JSON, body=body)
        good_until = float("inf")
        credential = request.headers.get("authorization", "")
        token = query.get("fal_jwt_token", [""])[-1]
        if token:
            good_until = self._good_until(token, parts[app_length - 1])
        elif self._scenario.is_key_needed and credential not in self._keys:
            body = _UNKNOWN_KEY if credential else _NO_KEY
            return Reply(status_code=401, headers=_JSON, body=body)
        is_refused = now >= good_until
        if is_refused and self._scenario.bad_jwt == "handshake":
            return Reply(status_code=401, headers=_JSON, body=_BAD_TOKEN)
        is_realtime = len(parts) > app_length and parts[-1] == "realtime"
        return SocketOrder(
            endpoint="/".join(parts[:-1] if is_realtime else parts),
            is_realtime=is_realtime,
            max_buffering=int(buffering),
            good_until=good_until,
            is_refused=is_refused,
        )

    def _good_until(self, text: str, alias: str) -> float:
        token = self._tokens.get(text)
        if token is None or alias not in token.apps:
            return float("-inf")
        return token.good_until

    def run(self, order: SocketOrder, arguments: Any, *, is_binary: bool) -> Run:
        """Return what the endpoint's model makes of one message.

        Args:
            order: The socket.
            arguments: The message.
            is_binary: The answer may hold bytes: pictures are then in it.
        """
        script = read_script(arguments)
        model = self._model_of(order.endpoint)
        run_s = self._run_s(script.run_s, model, arguments)
        if script.problem or script.fail is not None:
            return Run(run_s=run_s, error=script.problem or str(script.fail))
        answer = model.run(arguments, seed=self._chance.getrandbits(31), files=self._files)
        if answer.status_code >= 400:
            return Run(run_s=run_s, error=json.dumps(answer.body))
        body = dict(answer.body) if isinstance(answer.body, dict) else {"payload": answer.body}
        if is_binary and isinstance(body.get("images"), list):
            body["images"] = [self._inline(one) for one in body["images"]]
        if isinstance(arguments, dict) and "request_id" in arguments:
            body["request_id"] = arguments["request_id"]
        return Run(run_s=run_s, body=body)

    def _run_s(self, asked_s: float | None, model: Model, arguments: Any) -> float:
        for given in (asked_s, self._scenario.run_s):
            if given is not None:
                return given / self._scenario.speed
        # An app that stays loaded, with small pictures and few steps.
        draw = self._chance.random()
        return 0.1 * model.run_time_s(arguments, draw=draw) / self._scenario.speed

    def _inline(self, image: Any) -> Any:
        file = (
            self._files.find(image["url"]) if isinstance(image, dict) and "url" in image else None
        )
        if file is None:
            return image
        kept = {name: value for name, value in image.items() if name != "url"}
        return {**kept, "content": file.data, "content_type": file.content_type}


def is_socket_path(path: str) -> bool:
    """Return whether a websocket may be asked for there."""
    return path.startswith(RUN_PREFIX) or not path.startswith("/_")


def _without_prefix(path: str) -> str:
    return path.removeprefix(RUN_PREFIX.rstrip("/"))


def _read_wish(body: bytes, name: str) -> tuple[list[str], float]:
    wish = json.loads(body)
    apps = wish.get("allowed_apps") if isinstance(wish, dict) else None
    if not isinstance(apps, list) or not all(isinstance(one, str) for one in apps):
        raise ValueError("allowed_apps must be a list of strings")
    if any("/" in one for one in apps):
        raise ValueError("allowed_apps takes aliases, without the owner")
    life_s = wish.get(name)
    if isinstance(life_s, bool) or not isinstance(life_s, int | float) or life_s <= 0:
        raise ValueError(f"{name} must be a number of seconds")
    return apps, float(life_s)
