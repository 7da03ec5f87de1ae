"""Make a submission, a ticket or a reply in which only what a test is about is said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from falq._core import codec
from falq._core.messages import Reply
from falq._core.protocol import make_ticket
from falq.errors import FalqError
from falq.model import EndpointId, Submission, SubmitOptions, Ticket

REQUEST_ID = "019f72e4-5e1e-7143-8a50-9d1f0f3c2b11"


def a_submission(
    endpoint: str = "fal-ai/flux/schnell",
    arguments: Mapping[str, Any] | None = None,
    **options: Any,
) -> Submission:
    return Submission(
        endpoint=EndpointId.parse(endpoint),
        body=codec.dump_arguments({"prompt": "a cat"} if arguments is None else arguments),
        options=SubmitOptions(**options),
        intent_id="0" * 32,
    )


def a_ticket(endpoint: str = "fal-ai/flux/schnell", request_id: str = REQUEST_ID) -> Ticket:
    return make_ticket(EndpointId.parse(endpoint), request_id)


def a_reply(
    status_code: int = 200,
    body: Any = b"",
    *,
    headers: Mapping[str, str] | None = None,
    fault: FalqError | None = None,
) -> Reply:
    """Return a reply; a body that is not bytes is sent as JSON."""
    return Reply(
        status_code,
        headers={name.lower(): value for name, value in (headers or {}).items()},
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
        fault=fault,
    )
