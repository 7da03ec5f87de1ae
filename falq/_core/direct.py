"""The wire of direct runs and of output streams: build the calls, read what comes.

Owns the paths below fal's address for runs, and how an output, a part of one or
an error in either is told apart. It never sends: `live.direct` and `live.output`
do. Facts are those of fal's HTTP reference, of fal_client 1.0.3 and of fal-js
(2026-09); the model's own answer comes bare, as its result on the queue does.

What is told apart:
    1. A run above the account's limit is answered with 429 and the type
       `concurrent_requests_limit`. A third party saw the same body with 200, so a
       good answer of that form is no output either.
    2. An error in the middle of a stream is an event: named `error`, typed so (as
       workflows do), or an object that has nothing but an error's fields. What has
       any other field is an output.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from falq._core import codec
from falq._core.messages import Call, Origin, Reply, Verb
from falq._core.options import option_headers
from falq._core.refusal import (
    BILLABLE_UNITS_HEADER,
    REQUEST_ID_HEADER,
    TIMEOUT_TYPE_HEADER,
    describe_detail,
    excerpt_of,
    read_detail,
    read_error,
)
from falq._core.sse import ServerEvent
from falq.errors import (
    ApiError,
    ArgumentError,
    ConcurrencyLimitError,
    FalqError,
    InvalidInputError,
    JobFailedError,
    JobInputError,
    RateLimitError,
    WireError,
)
from falq.model import EndpointId, SubmitOptions, check_request_id

CONCURRENCY_TYPE = "concurrent_requests_limit"

_EVENT_STREAM = "text/event-stream"
_ERROR_FIELDS = frozenset(
    {
        "detail",
        "error",
        "error_type",
        "message",
        "type",
        "status",
        "status_code",
        "code",
        "node_id",
        "request_id",
    }
)


def build_run(
    target: EndpointId,
    body: bytes,
    options: SubmitOptions,
    *,
    method: str,
    timeout_s: float | None,
) -> Call:
    """Return the call that runs an endpoint. Its options were checked.

    Args:
        target: The endpoint, with its path.
        body: The arguments; not sent with GET, as in fal_client.
        options: Those that a direct run knows.
        method: HTTP method.
        timeout_s: Seconds for the whole run, if not what `CallTimeouts` says.
    """
    return Call(
        Verb.RUN,
        method,
        f"/{target.full}",
        None if method == "GET" else body,
        option_headers(options),
        Origin.RUN,
        timeout_s,
    )


def build_stream(target: EndpointId, body: bytes, options: SubmitOptions) -> Call:
    """Return the call that opens an output stream. Its options were checked."""
    headers = {**option_headers(options), "Accept": _EVENT_STREAM}
    return Call(Verb.RUN, "POST", f"/{target.full}", body, headers, Origin.RUN)


def stream_target(endpoint: str, path: str) -> EndpointId:
    """Return where an output stream is opened.

    Args:
        endpoint: `owner/alias[/path]`.
        path: Appended, unless the endpoint ends with it already (as in fal-js).

    Raises:
        ArgumentError: They make no endpoint id.
    """
    tail = path.strip("/")
    target = EndpointId.parse(endpoint)
    if not tail or f"/{target.full}".endswith(f"/{tail}"):
        return target
    return EndpointId.parse(f"{target.full}/{tail}")


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """Return the server's id of a run; its headers are the only place that has it."""
    text = headers.get(REQUEST_ID_HEADER)
    try:
        return None if text is None else check_request_id(text)
    except ArgumentError:
        return None


def is_event_stream(headers: Mapping[str, str]) -> bool:
    """Return whether a reply's body is one of server-sent events."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == _EVENT_STREAM


def read_output(reply: Reply, endpoint: EndpointId) -> Any:
    """Return what a direct run answered: a JSON value, or bytes of another type.

    Raises:
        ConcurrencyLimitError: The account runs as much as it may; nothing ran.
        ApiError: The model or the platform said no.
        WireError: It says that it is JSON and is not. The run is billed.
        TransportError: It did not arrive whole. The run is billed.
    """
    if not 200 <= reply.status_code < 300:
        raise refusal_of(reply, endpoint)
    facts: dict[str, Any] = {
        "endpoint": str(endpoint),
        "request_id": request_id_of(reply.headers),
        "possibly_billed": True,
    }
    if reply.fault is not None:
        reply.fault.endpoint, reply.fault.request_id = facts["endpoint"], facts["request_id"]
        reply.fault.possibly_billed = True
        raise reply.fault
    try:
        value = codec.load_json(reply.body)
    except ValueError:
        content_type = reply.headers.get("content-type", "")
        if content_type and "json" not in content_type.lower():
            return reply.body
        raise WireError(
            "the run's output is no JSON; it ran and falq does not repeat it",
            status_code=reply.status_code,
            excerpt=excerpt_of(reply.body),
            **facts,
        ) from None
    if is_concurrency_limit(value):
        raise _too_many(value, reply, endpoint, retry_after_s=None)
    return value


def refusal_of(reply: Reply, endpoint: EndpointId) -> FalqError:
    """Return the error that an answer which says no means, with what it may have cost."""
    error = read_error(reply, endpoint=endpoint, request_id=None, doing="run")
    if isinstance(error, RateLimitError):
        try:
            value = codec.load_json(reply.body)
        except ValueError:
            value = None
        if is_concurrency_limit(value):
            return _too_many(value, reply, endpoint, retry_after_s=error.retry_after_s)
    if isinstance(error, InvalidInputError):
        # fal may bill a 422 (its FAQ), unless the answer says otherwise.
        error.possibly_billed = reply.headers.get(BILLABLE_UNITS_HEADER) != "0"
    elif isinstance(error, ApiError) and reply.headers.get(TIMEOUT_TYPE_HEADER) == "user":
        # The caller's own start deadline: the same call would meet it again.
        error.retryable = False
    return error


def is_concurrency_limit(value: object) -> bool:
    """Return whether a body says that the account runs as much as it may."""
    return isinstance(value, dict) and value.get("type") == CONCURRENCY_TYPE and "detail" in value


def _too_many(
    body: Any, reply: Reply, endpoint: EndpointId, *, retry_after_s: float | None
) -> ConcurrencyLimitError:
    data = body.get("data")
    limit = data.get("limit") if isinstance(data, dict) else None
    return ConcurrencyLimitError(
        f"could not run: {describe_detail(body['detail'], reply.status_code)}; run fewer at once, "
        "or submit through the queue, where jobs wait for their turn",
        status_code=reply.status_code,
        error_type=CONCURRENCY_TYPE,
        detail=body["detail"],
        limit=limit if isinstance(limit, int) and not isinstance(limit, bool) else None,
        retry_after_s=retry_after_s,
        endpoint=str(endpoint),
        request_id=request_id_of(reply.headers),
    )


def read_part(event: ServerEvent, endpoint: EndpointId, request_id: str | None) -> Any:
    """Return the part of an output that an event brings: a JSON value.

    Raises:
        JobFailedError: The event is an error; `JobInputError` for refused input.
        WireError: It is no JSON.
    """
    facts: dict[str, Any] = {
        "endpoint": str(endpoint),
        "request_id": request_id,
        "possibly_billed": True,
    }
    try:
        value = codec.load_json(event.data.encode())
    except ValueError:
        if event.name == "error":
            value = event.data
        else:
            raise WireError(
                "a part of the output is no JSON; the stream is closed and not repeated",
                excerpt=event.data[:400],
                **facts,
            ) from None
    if event.name == "error" or _is_error(value):
        raise _stream_failure(value, facts)
    return value


def _is_error(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    if value.get("type") == "error":
        return True
    # A string of the model's own under "error" among other fields is its output.
    has_reason = value.get("detail") is not None or value.get("error") is not None
    return has_reason and value.keys() <= _ERROR_FIELDS


def _stream_failure(value: Any, facts: dict[str, Any]) -> JobFailedError:
    code = _code_of(value)
    # The reply's own status was good: only what the event names is one.
    detail, error_type = read_detail(Reply(code or 200, {}, json.dumps(value).encode()))
    if isinstance(detail, dict):
        # Workflows wrap the failed node's answer: {"status": 422, "body": {"detail": …}}.
        body = detail.get("body", detail)
        detail = body.get("detail", body) if isinstance(body, dict) else body
    if error_type == "error":
        error_type = None
    problems = codec.read_problems(detail)
    kind = JobInputError if code == 422 or (code is None and problems) else JobFailedError
    return kind(
        f"the stream ended with an error: {describe_detail(detail, code)}; falq does not repeat it",
        status_code=code,
        error_type=error_type,
        detail=detail,
        problems=problems,
        retryable=code is not None and code >= 500,
        **facts,
    )


def _code_of(value: Any) -> int | None:
    if not isinstance(value, dict):
        return None
    inner = value.get("error")
    places = [value, inner] if isinstance(inner, dict) else [value]
    for place in places:
        for name in ("status_code", "status", "code"):
            code = place.get(name)
            if isinstance(code, int) and not isinstance(code, bool) and 400 <= code < 600:
                return code
    return None
