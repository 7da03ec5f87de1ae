"""What goes on with a job in another session, or another process: a token.

Owns its form: versioned JSON with the two ids by which a job is found. It holds no
key and no address, so whoever changes a token sends nothing anywhere else. The
engine puts tokens on errors and on `Unfinished`; `Session.resume` reads them.
"""

from __future__ import annotations

import json

from falq._core import codec
from falq._core.protocol import make_ticket
from falq.errors import ArgumentError
from falq.model import EndpointId, Ticket

VERSION = 1

_LONGEST_CHARACTERS = 2048


def dump_token(ticket: Ticket) -> str:
    """Return the token of a job that the server has."""
    return json.dumps(
        {"falq": VERSION, "endpoint": ticket.endpoint.full, "request_id": ticket.request_id}
    )


def read_token(token: str) -> Ticket:
    """Return the ticket that a token stands for.

    Args:
        token: From `dump_token`, or anything that claims to be.

    Raises:
        ArgumentError: It is none, or a newer falq's.
    """
    try:
        content = codec.load_json(token[:_LONGEST_CHARACTERS].encode())
    except ValueError:
        content = None
    if not isinstance(content, dict) or "falq" not in content:
        raise ArgumentError(
            "not a resume token; take it from an error's resume_token", argument="record"
        )
    if content["falq"] != VERSION:
        raise ArgumentError(
            "the resume token is of another version of falq; attach with "
            "session.handle(endpoint, request_id)",
            argument="record",
        )
    endpoint, request_id = content.get("endpoint"), content.get("request_id")
    if not isinstance(endpoint, str) or not isinstance(request_id, str):
        raise ArgumentError("the resume token is damaged: it lacks an id", argument="record")
    return make_ticket(EndpointId.parse(endpoint), request_id)
