"""Delete what fal keeps of a request: its input, its output and the output's files.

Owns the deletion call (fal-wire 9.5, 2026). It never deletes anything of ours:
the journal and files on disk stay.
"""

from __future__ import annotations

import secrets
from typing import Any

from attrs import frozen

from falq._core.messages import Call, Origin, Verb
from falq.errors import WireError
from falq.model import check_request_id
from falq.platform.calls import USUAL_TRIES, Send, Tries, fetch


@frozen
class DeletedFile:
    """What became of one output file.

    Attributes:
        url: Where it lay.
        error: Why it is still there; None if it was deleted.
    """

    url: str
    error: str | None = None


async def delete_payloads(
    send: Send, request_id: str, *, tries: Tries = USUAL_TRIES
) -> tuple[DeletedFile, ...]:
    """Delete the stored input and output of a request that ended, and its output files.

    Files that were uploaded as input stay. It cannot be undone: fetch the result
    and its media before.

    Args:
        send: Carries a call, as `Transport.send` does. A cancelled call may or may
            not have deleted; calling again is harmless.
        request_id: Of a request that ended.
        tries: How the call is tried again. All attempts carry one
            `Idempotency-Key`, so that the server carries out one.

    Returns:
        The output files, and what became of each.

    Raises:
        ArgumentError: The id is none. Nothing was sent.
        RequestNotFoundError: The server does not know it.
        UnsupportedError: The gateway does not reach the Platform API. Nothing
            was sent.
        ApiError: The API says no: the request has not ended, for example.
        WireError: The answer cannot be read; the payloads may be deleted.
        TransportError: There was no whole answer; the payloads may be deleted.
    """
    path = f"/models/requests/{check_request_id(request_id)}/payloads"
    headers = {"Idempotency-Key": secrets.token_hex(16)}
    call = Call(Verb.PLATFORM, "DELETE", path, headers=headers, origin=Origin.PLATFORM)
    answer = await fetch(send, call, doing="delete the payloads", endpoint=None, tries=tries)
    results = answer.get("cdn_delete_results")
    if not isinstance(results, list):
        raise WireError(
            "could not read what was deleted: the answer has no list of files",
            request_id=request_id,
        )
    return tuple(_read(result) for result in results if isinstance(result, dict))


def _read(result: dict[str, Any]) -> DeletedFile:
    link, trouble = result.get("link"), result.get("exception")
    return DeletedFile(
        url=link if isinstance(link, str) else "",
        error=None if trouble is None else str(trouble),
    )
