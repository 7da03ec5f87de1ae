"""Let pages in a browser call the emulator from wherever they come.

Owns the headers by which a browser lets a page of another origin send a call and read
its answer (Fetch standard, CORS protocol), and the answer to the call it sends before.
What is open is what pages reach at fal: the queue, direct runs, storage and files. The
Platform API, Maton's side and the emulator's own control stay closed. It never looks
at a call that comes from no page.
"""

from __future__ import annotations

from attrs import evolve

from falq.emulator.maton import PREFIX as MATON_PREFIX
from falq.emulator.messages import Reply, Request
from falq.emulator.platform import PREFIX as PLATFORM_PREFIX

_CLOSED = (MATON_PREFIX, f"{PLATFORM_PREFIX}/", "/_emulator/")
# Any origin: a key is asked for in a header, and cookies mean nothing here. The names
# of headers are not secret either.
_OPEN = (("access-control-allow-origin", "*"), ("access-control-expose-headers", "*"))
_MARK = "access-control-"
# Chromium's own bound, in seconds.
_REMEMBERED_S = 7200


def answer_preflight(request: Request) -> Reply | None:
    """Return the answer to what a browser asks before a call; None if it is no such question.

    Args:
        request: Any request.
    """
    method = request.headers.get("access-control-request-method")
    if request.method != "OPTIONS" or method is None or not _is_open(request):
        return None
    # By name: a star stands for any header but `Authorization`.
    asked = request.headers.get("access-control-request-headers", "")
    allowed = [
        *_OPEN,
        ("access-control-allow-methods", method),
        ("access-control-max-age", str(_REMEMBERED_S)),
    ]
    if asked:
        allowed.append(("access-control-allow-headers", asked))
    return Reply(status_code=204, headers=tuple(allowed))


def open_to_page(request: Request, reply: Reply) -> Reply:
    """Return a reply that the page which sent the request may read.

    Args:
        request: Any request.
        reply: What it is answered with.
    """
    return evolve(reply, headers=(*reply.headers, *_OPEN)) if _is_open(request) else reply


def carry_over(first: Reply, later: Reply) -> Reply:
    """Return the reply that comes in place of another, as open as that one.

    Args:
        first: What was announced.
        later: What comes instead.
    """
    carried = tuple(pair for pair in first.headers if pair[0].startswith(_MARK))
    return evolve(later, headers=(*later.headers, *carried)) if carried else later


def _is_open(request: Request) -> bool:
    return "origin" in request.headers and not request.path.startswith(_CLOSED)
