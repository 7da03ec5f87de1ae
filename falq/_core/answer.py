"""Read what an answer that says yes holds.

Owns the one form that fal's addresses beside the queue answer in, a JSON object,
and what is told of an answer that is none. It never reads one that says no:
`refusal` does. `platform` and `media` call it.
"""

from __future__ import annotations

from falq._core import codec
from falq._core.messages import Reply
from falq._core.refusal import excerpt_of
from falq.errors import WireError
from falq.model import EndpointId


def read_object(
    reply: Reply,
    *,
    doing: str,
    advice: str,
    endpoint: EndpointId | None = None,
    retryable: bool = False,
) -> codec.JsonObject:
    """Return the JSON object of a good answer.

    Args:
        reply: With a status that says yes.
        doing: What was asked for, for the message.
        advice: What to do about an answer that is none.
        endpoint: What it is about, if about one.
        retryable: Whether the same call may bring a better one.

    Raises:
        WireError: It is none.

    Example:
        >>> read_object(Reply(200, {}, b'{"n": 1}'), doing="count", advice="try again later")
        {'n': 1}
    """
    try:
        told = codec.load_json(reply.body)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise WireError(
            f"could not {doing}: the answer is no JSON object; {advice}",
            status_code=reply.status_code,
            excerpt=excerpt_of(reply.body),
            endpoint=None if endpoint is None else str(endpoint),
            retryable=retryable,
        )
    return told
