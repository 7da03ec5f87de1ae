"""Pictures from prompts with FastAPI: a page, a queue, webhooks and progress.

Run it with `python fastapi_app.py`; the page "Embed falq in a web app" of falq's
documentation tells how. What the environment says:

    FAL_KEY      whose account pays; FALQ_BASE_URL leads to an emulator instead
    PUBLIC_URL   this app's address as fal reaches it; without it jobs are polled
    JOURNAL      the file that survives a restart, default `jobs.sqlite`
    PORT         default 8000

The journal is the app's only database: a job's key in it is made of the visitor and of
the id that the page has, so nobody else's page can ask for it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import uvicorn
from fastapi import Body, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse

import falq
from falq.journal import RecordState
from falq.web import AppSession
from falq.webhooks import WebhookReceiver

ENDPOINT = "fal-ai/flux/schnell"
MOST_AT_ONCE = 3
PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
    "img-src https: data: http://127.0.0.1:*; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
PUBLIC_URL = os.environ.get("PUBLIC_URL", "").rstrip("/")
logger = logging.getLogger("uvicorn.error")
running: Counter[str] = Counter()
"""Jobs of each visitor that have not ended."""


async def finish(session: falq.Session, handle: falq.Handle, owner: str) -> None:
    """Wait for a job, whether a page looks or not, and let the journal know."""
    try:
        await handle.wait()
        await session.acknowledge(handle)
    finally:
        let_go(owner)


def let_go(owner: str) -> None:
    """Count one job of a visitor less, and forget who has none."""
    running[owner] -= 1
    if not running[owner]:
        del running[owner]


async def recover(session: falq.Session, handle: falq.Handle) -> None:
    """Go on with a job that ran when the app was stopped."""
    record = await session.journal.load_job(number=handle.journal_number)
    owner = (record.key or "").partition(":")[0]
    running[owner] += 1
    await finish(session, handle, owner)


fal = AppSession(
    recover=recover,
    # A visitor who drops the cookie is a new visitor: this is the limit of them all.
    max_jobs=20,
    max_waiting=100,
    # Where no webhooks come, pages get each line of a job's log as it is printed.
    completion="stream",
    # uvicorn waits for streams before it tells the app of its end.
    drain_on={signal.SIGTERM, signal.SIGINT},
    journal=os.environ.get("JOURNAL", "jobs.sqlite"),
    webhook_base_url=f"{PUBLIC_URL}/fal" if PUBLIC_URL else None,
)


@asynccontextmanager
async def receive_webhooks(app: FastAPI) -> AsyncIterator[None]:
    """Take fal's webhooks while the session is open."""
    receiver = WebhookReceiver(fal.session)
    fal.monitor.add(receiver)
    app.mount("/fal", receiver)
    yield
    await receiver.aclose()


app = FastAPI(lifespan=fal.lifespan_around(receive_webhooks), openapi_url=None)
for path in ("/healthz", "/readyz", "/metrics"):
    app.add_route(path, fal.monitor)


def owner_of(request: Request) -> str:
    """Return who asks. The cookie itself is written down nowhere."""
    cookie = request.cookies.get("visitor", "")
    if not re.fullmatch(r"[\w-]{43}", cookie):
        raise HTTPException(401, "Open the page first.")
    return hashlib.sha256(cookie.encode()).hexdigest()[:32]


Owner = Annotated[str, Depends(owner_of)]


def check_own_page(request: Request) -> None:
    """Refuse what the page of another site has sent with this visitor's cookie."""
    if urlsplit(request.headers.get("origin", "")).netloc != request.headers.get("host"):
        raise HTTPException(403, "Only this page may ask.")


@app.get("/")
async def page(request: Request) -> HTMLResponse:
    """Show the page; a new visitor gets a cookie."""
    nonce = secrets.token_urlsafe(16)
    headers = {
        "Content-Security-Policy": POLICY.format(nonce=nonce),
        "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }
    response = HTMLResponse(PAGE.replace("{{nonce}}", nonce), headers=headers)
    if "visitor" not in request.cookies:
        is_secure = PUBLIC_URL.startswith("https:")
        month_s = 30 * 24 * 3600
        response.set_cookie(
            *("visitor", secrets.token_urlsafe(32)),
            max_age=month_s,
            httponly=True,
            samesite="strict",
            secure=is_secure,
        )
    return response


@app.post("/jobs", status_code=201, dependencies=[Depends(check_own_page)])
async def order(
    prompt: Annotated[str, Body(embed=True, min_length=1, max_length=500)], owner: Owner
) -> Response:
    """Submit a job; return once fal has it."""
    refusal = fal.refusal()
    if refusal is not None:
        return Response(refusal.body, refusal.status_code, dict(refusal.headers))
    if running[owner] >= MOST_AT_ONCE:
        raise HTTPException(429, f"{MOST_AT_ONCE} pictures at a time.", {"Retry-After": "5"})
    job = secrets.token_urlsafe(16)
    running[owner] += 1
    try:
        handle = await fal.session.submit(ENDPOINT, {"prompt": prompt}, key=f"{owner}:{job}")
    except BaseException as error:
        let_go(owner)
        if not isinstance(error, falq.FalqError):
            raise
        logger.warning("a submit failed: %s", error)
        raise HTTPException(502, "The picture could not be ordered.") from None
    fal.spawn(finish(fal.session, handle, owner))
    return Response(json.dumps({"id": job}), 201, media_type="application/json")


@app.get("/jobs/{job}/events")
async def events(job: str, owner: Owner) -> StreamingResponse:
    """Tell a visitor's page how one of the visitor's jobs goes on."""
    session = fal.session
    record = await session.journal.load_job(key=f"{owner}:{job}")
    if record is None or record.state is RecordState.PLANNED:
        raise HTTPException(404, "There is no such picture.")
    # A job that runs is followed, and one that has ended ends the same again.
    told = tell(session.resume(record))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(told, media_type="text/event-stream", headers=headers)


async def tell(handle: falq.Handle) -> AsyncIterator[str]:
    """Yield server-sent events until the job or the app ends; the page comes back by itself."""
    yield "retry: 500\n\n"
    try:
        async with aclosing(fal.follow(handle, logs=True)) as statuses:
            async for status in statuses:
                yield ": still there\n\n" if status is None else describe(status)
        if handle.is_done() or isinstance(handle.last_status, falq.Completed):
            result = await handle
            yield event("picture", url=result["images"][0]["url"])
    except falq.SessionError:
        return
    except falq.FalqError as error:
        logger.warning("a job failed: %s", error)
        yield event("failed", text="There is no picture: the job failed.")


def describe(status: falq.Status) -> str:
    """Return a status as an event for the page."""
    match status:
        case falq.Queued(position=position):
            return event("queued", position=position)
        case falq.Completed():
            return event("completed")
        case _:
            lines = getattr(status, "logs", ())
            return event("running", line=lines[-1].message if lines else "")


def event(name: str, **facts: object) -> str:
    """Return one server-sent event. JSON has no line breaks that could end it early."""
    return f"event: {name}\ndata: {json.dumps(facts)}\n\n"


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8000"))
    uvicorn.run(app, host="127.0.0.1", port=port, timeout_graceful_shutdown=25)
