"""What may pass a proxy for browsers, and in which form.

Owns the reading of the address that a browser names, the lists of headers that
pass in either direction, and the answers of the proxy's own. It never sends:
`relay` does. Facts are those of fal's proxy library 1.2.1 and of @fal-ai/client
1.10.1, which names fal's own addresses whatever the gateway is.

Rules:
    1. An address is compared with whole roots, scheme and host and the slash behind
       them, and only to learn which of the gateway's origins is meant. The call
       goes to the gateway's own address: no text of a browser chooses a host.
    2. Methods, paths and queries are a closed list. Tokens are not on it: who has
       one needs no proxy any more. Nor is a webhook of the browser's choice.
    3. What makes a bill is never answered with a status that @fal-ai/client takes
       as an invitation to send it again, unless it is certain that nothing ran.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from attrs import evolve, field, frozen

from falq._core.messages import Call, Origin, Reply, Verb
from falq._transport.base import root_of
from falq._version import __version__
from falq.errors import ArgumentError, ConfigError, TransportError, UnsupportedError
from falq.gateways import Gateway
from falq.model import EndpointId, check_path_part, check_request_id

METHODS = ("GET", "POST", "PUT")
TARGET_HEADER = "x-fal-target-url"

# fal's own names for what the gateway's addresses stand for.
_KNOWN_ROOTS = {
    "https://queue.fal.run": Origin.QUEUE,
    "https://fal.run": Origin.RUN,
    "https://rest.fal.ai": Origin.REST,
}
_LONGEST_TARGET = 2048
_NEVER_IN_A_TARGET = frozenset("@#\\% ")
_BY_TAIL = {
    ("GET", ("status",)): Verb.STATUS,
    ("GET", ("status", "stream")): Verb.STREAM,
    ("GET", ()): Verb.RESULT,
    ("PUT", ("cancel",)): Verb.CANCEL,
}
_QUERIES = {
    Verb.STATUS: frozenset({"", "logs=0", "logs=1"}),
    Verb.STREAM: frozenset({"", "logs=0", "logs=1"}),
}
_NO_QUERY = frozenset({""})
_UPLOADS = frozenset({"storage/upload/initiate", "storage/upload/initiate-multipart"})
_UPLOAD_QUERY = "storage_type=fal-cdn-v3"
_NAMESPACES = frozenset({"workflows", "comfy"})
_COSTLY = frozenset({Verb.SUBMIT, Verb.RUN})

_HEADERS_IN = (
    # Of uploads; the other one is of what a model makes.
    "x-fal-object-lifecycle",
    "x-fal-object-lifecycle-preference",
    "x-fal-queue-priority",
    "x-fal-request-timeout",
    "x-fal-runner-hint",
    "x-fal-store-io",
)
_HEADERS_OUT = (
    "retry-after",
    "x-fal-billable-units",
    "x-fal-error-type",
    "x-fal-request-id",
    "x-fal-request-timeout-type",
)
_PLAIN_TYPES = frozenset({"application/json", "text/event-stream", "text/plain"})
_MEDIA_TYPES = ("image/", "audio/", "video/")
_UNKNOWN_TYPE = "application/octet-stream"
# The statuses that @fal-ai/client 1.10.1 repeats a submit on, beside 429.
_REPEATED = frozenset({502, 503, 504})


@frozen
class Answer:
    """What is told to the browser.

    Attributes:
        status_code: HTTP status.
        headers: All of them but those of the connection, in lower case.
        body: The whole body; empty if it is a stream.
    """

    status_code: int
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)


@frozen
class Route:
    """Where a call goes.

    Attributes:
        verb: What it asks.
        method: HTTP method.
        target: Path and query, from the first slash.
        origin: Which of the gateway's addresses it goes below.
        is_streamed: Whether its answer is passed on as it comes.
    """

    verb: Verb
    method: str
    target: str
    origin: Origin
    is_streamed: bool = False

    @property
    def is_costly(self) -> bool:
        """Whether it makes a job, and so a bill."""
        return self.verb in _COSTLY

    def call(self, headers: Mapping[str, str], body: bytes | None) -> Call:
        """Return the call to send.

        Args:
            headers: The browser's, by lower-case name; few of them pass.
            body: JSON bytes, or None.
        """
        sent = {name: headers[name] for name in _HEADERS_IN if name in headers}
        sent["x-fal-client-proxy"] = f"falq/{__version__}"
        if body is not None:
            sent["Content-Type"] = "application/json"
        if self.is_streamed:
            sent["Accept"] = "text/event-stream"
        return Call(self.verb, self.method, self.target, body, sent, self.origin)


class Rules:
    """What a proxy lets pass.

    Args:
        gateway: Where calls go.
        endpoints: Endpoint ids; one that ends in `/*` stands for all below it.
        allow_uploads: Whether uploads may be started.

    Raises:
        ConfigError: No endpoint is named, or one is none.
        UnsupportedError: The gateway has no uploads.
    """

    def __init__(self, gateway: Gateway, endpoints: Iterable[str], *, allow_uploads: bool) -> None:
        self._exact, self._below = _read_endpoints(endpoints)
        self._apps = {one.app for one in (*self._exact, *self._below)}
        self._allow_uploads = allow_uploads
        if allow_uploads:
            root_of(gateway, Origin.REST)
        self._roots = _roots_of(gateway)

    def read(self, method: str, target: str) -> Route | None:
        """Return where a call goes, or None if it may not pass.

        Args:
            method: HTTP method.
            target: The address that the browser named.
        """
        is_plain = target.isascii() and target.isprintable() and len(target) <= _LONGEST_TARGET
        if not is_plain or not _NEVER_IN_A_TARGET.isdisjoint(target):
            return None
        for root, origin in self._roots:
            if target.startswith(f"{root}/"):
                path, mark, query = target[len(root) + 1 :].partition("?")
                if mark and not query:
                    return None
                try:
                    return self._route(origin, method, path, query)
                except ArgumentError:
                    return None
        return None

    def _route(self, origin: Origin, method: str, path: str, query: str) -> Route | None:
        parts = path.split("/")
        for part in parts:
            check_path_part(part, what="path")
        if origin is Origin.REST:
            return self._upload(method, path, query)
        if method == "POST":
            return self._job(origin, path) if not query else None
        return self._request(method, parts, query) if origin is Origin.QUEUE else None

    def _upload(self, method: str, path: str, query: str) -> Route | None:
        is_upload = path in _UPLOADS and query == _UPLOAD_QUERY
        if not self._allow_uploads or method != "POST" or not is_upload:
            return None
        return Route(Verb.STORAGE, "POST", f"/{path}?{query}", Origin.REST)

    def _job(self, origin: Origin, path: str) -> Route | None:
        endpoint = EndpointId.parse(path)
        if origin is Origin.QUEUE:
            is_allowed = self._allows(endpoint)
            return Route(Verb.SUBMIT, "POST", f"/{endpoint.full}", origin) if is_allowed else None
        head, _, last = endpoint.full.rpartition("/")
        is_streamed = last == "stream"
        # An endpoint's stream is allowed with the endpoint.
        is_allowed = self._allows(endpoint) or (
            is_streamed and head.count("/") > 0 and self._allows(EndpointId.parse(head))
        )
        if not is_allowed:
            return None
        return Route(Verb.RUN, "POST", f"/{endpoint.full}", origin, is_streamed)

    def _request(self, method: str, parts: list[str], query: str) -> Route | None:
        length = 3 if parts[0] in _NAMESPACES else 2
        app = "/".join(parts[:length])
        if app not in self._apps or len(parts) < length + 2 or parts[length] != "requests":
            return None
        check_request_id(parts[length + 1])
        verb = _BY_TAIL.get((method, tuple(parts[length + 2 :])))
        if verb is None or query not in _QUERIES.get(verb, _NO_QUERY):
            return None
        target = "/" + "/".join(parts) + (f"?{query}" if query else "")
        return Route(verb, method, target, Origin.QUEUE, verb is Verb.STREAM)

    def _allows(self, endpoint: EndpointId) -> bool:
        # A path with requests in it is the queue's own, whatever the method.
        if "requests" in endpoint.path.split("/"):
            return False
        if endpoint in self._exact:
            return True
        return any(f"{endpoint.full}/".startswith(f"{one.full}/") for one in self._below)


def _read_endpoints(endpoints: Iterable[str]) -> tuple[set[EndpointId], set[EndpointId]]:
    exact, below = set(), set()
    # One text is a list of its letters.
    named = [] if isinstance(endpoints, str) else list(endpoints)
    for text in named:
        try:
            if text.endswith("/*"):
                below.add(EndpointId.parse(text.removesuffix("/*")))
            else:
                exact.add(EndpointId.parse(text))
        except (ArgumentError, AttributeError):
            raise ConfigError(
                f"endpoints: {text!r} is no endpoint; write 'fal-ai/flux/schnell', or "
                "'fal-ai/flux/*' for all below it",
                setting="endpoints",
            ) from None
    if not exact and not below:
        raise ConfigError(
            "endpoints is a list of what browsers may use, such as ['fal-ai/flux/schnell']; "
            "it names none",
            setting="endpoints",
        )
    return exact, below


def _roots_of(gateway: Gateway) -> list[tuple[str, Origin]]:
    roots: dict[str, Origin] = {}
    for known, origin in _KNOWN_ROOTS.items():
        try:
            own = root_of(gateway, origin)
        except UnsupportedError:
            continue
        roots[known] = origin
        roots.setdefault(own, origin)
    # The longest first: the emulator's addresses lie below each other.
    return sorted(roots.items(), key=lambda item: -len(item[0]))


def refuse(status_code: int, detail: str, **headers: str) -> Answer:
    """Return an answer of the proxy's own, in the form of fal's errors.

    Args:
        status_code: HTTP status.
        detail: What to tell.
        headers: Further headers, with `_` for `-`.
    """
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    told = plain(status_code, "application/json", json.dumps({"detail": detail}).encode())
    return evolve(told, headers={**told.headers, **named})


def plain(status_code: int, content_type: str, body: bytes) -> Answer:
    """Return an answer of falq's own, which nobody keeps.

    Args:
        status_code: HTTP status.
        content_type: Of its body, with its parameters.
        body: The whole of it.
    """
    return Answer(status_code, {**_always(""), "content-type": content_type}, body)


def head_of(status_code: int, headers: Mapping[str, str]) -> Answer:
    """Return the head of an answer that is passed on as it comes."""
    kept = {name: headers[name] for name in _HEADERS_OUT if name in headers}
    return Answer(status_code, {**_always(headers.get("content-type", "")), **kept})


def answer_of(route: Route, reply: Reply) -> Answer:
    """Return what is told of a reply."""
    if reply.fault is not None or 300 <= reply.status_code < 400:
        return unanswered(route, was_sent=True)
    head = head_of(reply.status_code, reply.headers)
    is_repeated = route.is_costly and reply.status_code in _REPEATED
    return Answer(500 if is_repeated else reply.status_code, head.headers, reply.body)


def unanswered(route: Route, error: Exception | None = None, *, was_sent: bool = True) -> Answer:
    """Return what is told when there is no whole reply.

    Args:
        route: Where the call went.
        error: Why, if the call raised.
        was_sent: Whether it may have been received, unless `error` says.
    """
    if isinstance(error, TransportError):
        was_sent = error.request_sent is not False
    if not was_sent:
        return refuse(503, "fal cannot be reached; nothing was sent")
    if route.is_costly:
        return refuse(500, "there is no answer of fal; the job may run, and is not sent again")
    return refuse(502, "there is no answer of fal; ask again")


def _always(content_type: str) -> dict[str, str]:
    kind = content_type.partition(";")[0].strip().lower()
    is_media = kind.startswith(_MEDIA_TYPES) and "svg" not in kind and kind.isprintable()
    # A page or a script of a model must not run as one of the app's own.
    shown = kind if kind in _PLAIN_TYPES or is_media else _UNKNOWN_TYPE
    return {
        "content-type": shown,
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }
