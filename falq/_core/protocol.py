"""The queue's wire: build the call for each verb, read the good replies.

Owns every path and body field of fal's queue. It never sends, waits or
retries: the engine's clients do, and ask `submission` what the answer to a submit
means and `refusal` what an answer that says no means.

Facts are those of fal's HTTP reference and of fal_client 1.0.3 (2026-09):
    1. Submit posts the bare input to the full id; status, result and cancel
       name owner and alias only (a sub-path there is answered with 405).
    2. There are three status words. COMPLETED says that the request ended, not
       that it succeeded: the result call replays what the model answered.
    3. URLs in bodies are data. Their path is used after it was checked; the
       origin is always the gateway's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from falq._core import codec
from falq._core.messages import Call, Reply, Verb
from falq._core.options import JSON_HEADERS, option_headers
from falq._core.refusal import REQUEST_ID_HEADER, excerpt_of, read_error
from falq.errors import ArgumentError, WireError
from falq.model import (
    NAMESPACES,
    CancelOutcome,
    Completed,
    EndpointId,
    InProgress,
    Queued,
    Status,
    Submission,
    SubmitOptions,
    Ticket,
    check_path_part,
    check_request_id,
)

FAILED_WORDS = frozenset({"FAILED", "ERROR"})
"""Never seen from fal, named by Maton's documents: tolerated as ends."""

CANCELLED_WORDS = frozenset({"CANCELLED", "CANCELED"})

_PLAIN_OPTIONS = SubmitOptions()

_ID_IN_A_PIECE = re.compile(rb'"request_id"\s*:\s*"([!-~]{1,512}?)"')


def build_submit(submission: Submission, *, webhook_url: str | None = None) -> Call:
    """Return the call that submits. Its options were checked.

    Args:
        submission: What to submit.
        webhook_url: What fal calls when it ends, unless the options name another.
    """
    options = submission.options
    target = f"/{submission.endpoint.full}"
    query: dict[str, str] = {}
    webhook_url = options.webhook_url or webhook_url
    if webhook_url is not None:
        query["fal_webhook"] = webhook_url
    if options.max_queue_length is not None:
        query["fal_max_queue_length"] = str(int(options.max_queue_length))
    if query:
        target = f"{target}?{urlencode(query)}"
    headers = JSON_HEADERS if options == _PLAIN_OPTIONS else option_headers(options)
    return Call(Verb.SUBMIT, "POST", target, submission.body, headers)


def build_status(ticket: Ticket, *, logs: bool) -> Call:
    """Return the call that asks for the status."""
    target = f"/{ticket.app}/requests/{ticket.request_id}/status"
    return Call(Verb.STATUS, "GET", f"{target}?logs=1" if logs else target)


def build_result(ticket: Ticket) -> Call:
    """Return the call that asks for the result."""
    return Call(Verb.RESULT, "GET", f"/{ticket.app}/requests/{ticket.request_id}")


def build_cancel(ticket: Ticket) -> Call:
    """Return the call that asks to cancel."""
    return Call(Verb.CANCEL, "PUT", f"/{ticket.app}/requests/{ticket.request_id}/cancel")


def make_ticket(endpoint: EndpointId, request_id: str) -> Ticket:
    """Return the ticket of a request by its id.

    Raises:
        ArgumentError: The id is none.
    """
    return Ticket(
        endpoint=endpoint,
        request_id=check_request_id(request_id),
        app=endpoint.app,
    )


def read_ticket(endpoint: EndpointId, reply: Reply) -> Ticket | None:
    """Return the ticket that a good answer to a submit holds, if any.

    The id comes from the body, also from what arrived of it, else from the
    header; the app from the body's URLs if they pass the check, else from the
    endpoint.
    """
    body = _read_receipt(reply)
    header_id = reply.headers.get(REQUEST_ID_HEADER)
    ticket = _first_ticket(endpoint, body.get("request_id"), header_id)
    if ticket is None:
        return None
    app = _app_of_url(body.get("status_url"), ticket) or ticket.app
    position = body.get("queue_position")
    return Ticket(
        endpoint=endpoint,
        request_id=ticket.request_id,
        app=app,
        position=position if _is_count(position) else None,
    )


def _read_receipt(reply: Reply) -> codec.JsonObject:
    if reply.fault is None:
        try:
            body = codec.load_json(reply.body)
        except ValueError:
            body = None
        if isinstance(body, dict):
            return body
    # The job exists and costs money: a receipt that was cut may still name it.
    found = _ID_IN_A_PIECE.search(reply.body)
    return {"request_id": found[1].decode()} if found else {}


def _first_ticket(endpoint: EndpointId, *request_ids: Any) -> Ticket | None:
    """Return the ticket of the first that is an id: a spoilt one must not hide a good one."""
    for request_id in request_ids:
        try:
            return make_ticket(endpoint, request_id)
        except ArgumentError:
            continue
    return None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _app_of_url(url: object, ticket: Ticket) -> str | None:
    """Return the app in a server-given status URL, if its path has the right form.

    The host is not looked at, because it is never used. A path with a sub-path
    or of another request is no good: the ticket's own app stands in for it.
    """
    if not isinstance(url, str) or len(url) > 2048:
        return None
    tail = f"/requests/{ticket.request_id}/status"
    own = f"/{ticket.app}{tail}"
    if url.endswith(own):
        return ticket.app
    try:
        path = urlsplit(url).path.rstrip("/")
        # Before the owner stands the path's first slash: it leaves an empty part.
        head, *parts = path[: -len(tail)].split("/") if path.endswith(tail) else ["", ""]
        plain = [check_path_part(unquote(part), what="status_url") for part in parts]
    except (ValueError, ArgumentError):
        return None
    has_form = not head and len(plain) == (3 if NAMESPACES.intersection(plain[:1]) else 2)
    return "/".join(plain) if has_form else None


_KNOWN_FIELDS = frozenset(
    {
        "status",
        "request_id",
        "response_url",
        "status_url",
        "cancel_url",
        "queue_position",
        "logs",
        "metrics",
        "error",
        "error_type",
    }
)


def read_status(reply: Reply, ticket: Ticket) -> Status:
    """Return the status that an answer tells.

    Raises:
        ApiError: The answer says no; see `read_error`.
        WireError: It is no status. The request may be in any.
        TransportError: Its body did not arrive whole.
    """
    body = _read_object(reply, ticket)
    word = body.get("status")
    if not isinstance(word, str) or not word:
        raise WireError(
            "a status came without a status word; it is asked for again",
            status_code=reply.status_code,
            excerpt=excerpt_of(reply.body),
            request_id=ticket.request_id,
            endpoint=str(ticket.endpoint),
        )
    return status_of(word, body)


def status_of(word: str, body: Mapping[str, Any]) -> Status:
    """Return the status that a word and its fields mean."""
    extra = {name: body[name] for name in body.keys() - _KNOWN_FIELDS}
    logs = codec.read_logs(body.get("logs"))
    if word == "IN_PROGRESS":
        return InProgress(logs, extra=extra)
    if word == "IN_QUEUE":
        position = body.get("queue_position")
        return Queued(position if _is_count(position) else None, logs=logs, extra=extra)
    if word == "COMPLETED" or word in FAILED_WORDS or word in CANCELLED_WORDS:
        metrics = body.get("metrics")
        error = body.get("error")
        if error is not None and not isinstance(error, str):
            error = json.dumps(error)
        error_type = body.get("error_type")
        return Completed(
            logs,
            metrics if isinstance(metrics, dict) else {},
            error or None,
            error_type if isinstance(error_type, str) else None,
            word=word,
            extra=extra,
        )
    return Status(word, extra=extra)


def read_payload(reply: Reply, ticket: Ticket) -> Any:
    """Return the payload of a good result: a JSON value, or bytes of another type.

    Raises:
        WireError: It says that it is JSON and is not, or is the page of a proxy: HTML
            without fal's id in its head.
        TransportError: The body did not arrive whole.
    """
    if reply.fault is not None:
        raise reply.fault
    content_type = reply.headers.get("content-type", "").lower()
    try:
        return codec.load_json(reply.body)
    except ValueError:
        is_page = "html" in content_type and REQUEST_ID_HEADER not in reply.headers
        if content_type and "json" not in content_type and not is_page:
            return reply.body
        raise WireError(
            "the result is no JSON; it is asked for again",
            status_code=reply.status_code,
            excerpt=excerpt_of(reply.body),
            request_id=ticket.request_id,
            endpoint=str(ticket.endpoint),
        ) from None


def is_not_ready(reply: Reply) -> bool:
    """Return whether a result was asked for too early.

    fal answers 400 with "Request is still in progress" (its end-to-end tests and
    a third party's code), other sources say 202.
    """
    if reply.status_code == 202:
        return True
    if reply.status_code != 400 or len(reply.body) > 1000:
        return False
    return b"still in progress" in reply.body.lower()


def read_cancel(reply: Reply) -> CancelOutcome | None:
    """Return what became of a cancel; None if the answer does not say.

    fal answers 400 with "ALREADY_COMPLETED" for a request that has ended. A 400 of other
    words, such as the one of a gateway without a connection, says nothing of it.
    """
    if 200 <= reply.status_code < 300:
        return "requested"
    if reply.status_code == 400:
        return "already_completed" if b"already" in reply.body.lower() else None
    if reply.status_code == 404:
        return "not_found"
    return None


def _read_object(reply: Reply, ticket: Ticket) -> codec.JsonObject:
    if reply.fault is not None:
        raise reply.fault
    if not 200 <= reply.status_code < 300:
        raise read_error(
            reply,
            endpoint=ticket.endpoint,
            request_id=ticket.request_id,
            doing="read the status",
        )
    try:
        body = codec.load_json(reply.body)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise WireError(
            "a status came that is no JSON object; it is asked for again",
            status_code=reply.status_code,
            excerpt=excerpt_of(reply.body),
            request_id=ticket.request_id,
            endpoint=str(ticket.endpoint),
        )
    return body
