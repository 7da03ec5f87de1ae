"""How a job ends: what its status and its result will say from then on.

Owns the catalogue of failures that the platform and the models are known for,
and the form of each on the wire. It never decides which one happens: `state`
asks for an ending when a run is over.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from attrs import frozen

from falq.emulator.models.base import Answer

EndState = Literal["succeeded", "failed", "cancelled", "timed_out"]
Headers = tuple[tuple[str, str], ...]

# Request errors: fal's own, made outside the model (docs.fal.ai/errors, 2026).
REQUEST_ERRORS = {
    "request_timeout": 504,
    "startup_timeout": 504,
    "runner_scheduling_failure": 503,
    "runner_connection_timeout": 503,
    "runner_disconnected": 503,
    "runner_connection_refused": 503,
    "runner_connection_error": 503,
    "runner_incomplete_response": 502,
    "runner_server_error": 500,
    "client_disconnected": 499,
    "client_cancelled": 499,
    "bad_request": 400,
    "internal_error": 500,
}

# Model errors: entries of a `detail` list (docs.fal.ai/errors, 2026).
MODEL_ERRORS = {
    "internal_server_error": 500,
    "generation_timeout": 504,
    "downstream_service_error": 400,
    "downstream_service_unavailable": 500,
    "content_policy_violation": 422,
    "no_media_generated": 422,
    "image_too_small": 422,
    "image_too_large": 422,
    "image_load_error": 422,
    "file_download_error": 422,
    "face_detection_error": 422,
    "file_too_large": 422,
    "feature_not_supported": 422,
}

CANCELLED_TEXT = "Request cancelled by the client."
TIMED_OUT_TEXT = "Request did not start before its deadline"


@frozen(kw_only=True)
class Ending:
    """The end of one job.

    Attributes:
        state: How it counts.
        status_code: Status that the result call replays.
        body: Body that the result call replays.
        headers: Headers that the result call replays, besides the request id.
        error: `error` on the status, for failures that the platform made.
        error_type: `error_type` beside it.
    """

    state: EndState
    status_code: int
    body: bytes
    headers: Headers = ()
    error: str | None = None
    error_type: str | None = None


def encode(value: Any) -> bytes:
    """Return `value` as compact JSON, the way fal writes it."""
    return json.dumps(value, separators=(",", ":")).encode()


def end_with_answer(answer: Answer) -> Ending:
    """Return the ending of a run that the model finished by itself."""
    units = f"{answer.billable_units:g}"
    return Ending(
        state="succeeded" if answer.status_code < 400 else "failed",
        status_code=answer.status_code,
        body=encode(answer.body),
        headers=(("x-fal-billable-units", units), *answer.headers.items()),
    )


def end_with_request_error(
    error_type: str, *, text: str | None = None, state: EndState = "failed", headers: Headers = ()
) -> Ending:
    """Return the ending that the platform gives a job with `error_type`."""
    error = text or error_type.replace("_", " ").capitalize()
    return Ending(
        state=state,
        status_code=REQUEST_ERRORS.get(error_type, 500),
        body=encode({"detail": error, "error_type": error_type}),
        headers=(("x-fal-error-type", error_type), *headers),
        error=error,
        error_type=error_type,
    )


def end_cancelled() -> Ending:
    """Return the ending of a job that was cancelled in the line or by its model."""
    return Ending(
        state="cancelled",
        status_code=REQUEST_ERRORS["client_cancelled"],
        body=encode({"detail": CANCELLED_TEXT}),
        headers=(("x-fal-error-type", "client_cancelled"),),
        error=CANCELLED_TEXT,
        error_type="client_cancelled",
    )


def end_timed_out(timeout_type: str) -> Ending:
    """Return the ending of a job that did not start before its deadline."""
    return end_with_request_error(
        "request_timeout",
        text=TIMED_OUT_TEXT,
        state="timed_out",
        headers=(("x-fal-request-timeout-type", timeout_type),),
    )


def end_as_scripted(failure: str | int) -> Ending:
    """Return the ending that an input asked for: an error type or an HTTP status."""
    if isinstance(failure, str) and failure not in MODEL_ERRORS:
        return end_with_request_error(failure)
    if isinstance(failure, str):
        entry = {
            "loc": ["body"],
            "msg": failure.replace("_", " ").capitalize(),
            "type": failure,
            "url": f"https://docs.fal.ai/errors#{failure}",
        }
        answer = Answer(
            body={"detail": [entry]}, status_code=MODEL_ERRORS[failure], billable_units=0
        )
        return end_with_answer(answer)
    body = {"detail": f"The model answered with status {failure}"}
    return end_with_answer(Answer(body=body, status_code=failure, billable_units=0))
