"""What a method and a path ask the queue for.

Owns the reading of the queue's paths, with the namespaces and the sub-paths that
only a submit may have. It never answers: `routes` does.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import unquote

from attrs import frozen

QueueVerb = Literal["submit", "status", "status_stream", "result", "cancel"]

NAMESPACES = frozenset({"workflows", "comfy"})

_BY_METHOD: dict[tuple[str, tuple[str, ...]], QueueVerb] = {
    ("GET", ("status",)): "status",
    ("GET", ("status", "stream")): "status_stream",
    ("GET", ()): "result",
    ("PUT", ("cancel",)): "cancel",
}
_KNOWN_TAILS = {tail for _, tail in _BY_METHOD}
# The documented `…/response` URL was reported to answer 405 on GET.
_REFUSED_TAILS = {("response",)}


@frozen(kw_only=True)
class Address:
    """A path of the queue, read.

    Attributes:
        verb: What is asked for; None if nothing is behind it.
        app: Namespace, owner and alias.
        endpoint: Full endpoint id of a submit.
        request_id: Id of the request; empty at submit.
        has_sub_path: More than the app stands before `/requests/`.
        refusal: 404 or 405 if no verb is behind it.
        allow: Method that the path takes, for the 405.
    """

    verb: QueueVerb | None = None
    app: str = ""
    endpoint: str = ""
    request_id: str = ""
    has_sub_path: bool = False
    refusal: int = 404
    allow: str = "POST"


def read_address(method: str, path: str) -> Address:
    """Read a path of the queue, percent-encoded as it came."""
    parts = path.strip("/").split("/")
    if "%" in path:
        parts = [unquote(part) for part in parts]
    app_length = 3 if parts[0] in NAMESPACES else 2
    if len(parts) < app_length or not all(parts):
        return Address()
    split = _find_requests(parts, app_length)
    app = "/".join(parts[:app_length])
    if split is None:
        endpoint = "/".join(parts)
        return (
            Address(verb="submit", app=app, endpoint=endpoint)
            if method == "POST"
            else Address(refusal=405)
        )
    tail = tuple(parts[split + 2 :])
    verb = _BY_METHOD.get((method, tail))
    is_known = tail in _KNOWN_TAILS or tail in _REFUSED_TAILS
    return Address(
        verb=verb,
        app=app,
        endpoint="/".join(parts[:split]),
        request_id=parts[split + 1],
        has_sub_path=split > app_length,
        refusal=405 if is_known else 404,
        allow="PUT" if tail == ("cancel",) else "GET",
    )


def _find_requests(parts: list[str], app_length: int) -> int | None:
    """Return the index of `requests` if a request id follows it."""
    try:
        split = parts.index("requests", app_length)
    except ValueError:
        return None
    return split if split + 1 < len(parts) else None
