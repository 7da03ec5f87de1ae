"""Pictures from prompts with aiohttp: a page, a queue, webhooks and progress.

Run it with `python aiohttp_app.py`; the page "Embed falq in a web app" of falq's
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
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

import falq
from falq.journal import RecordState
from falq.web import SESSION, AppSession
from falq.webhooks import WebhookReceiver

ENDPOINT = "fal-ai/flux/schnell"
MOST_AT_ONCE = 3
LONGEST_PROMPT = 500
PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
    "img-src https: data: http://127.0.0.1:*; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
PUBLIC_URL = os.environ.get("PUBLIC_URL", "").rstrip("/")
RECEIVER = web.AppKey("receiver", WebhookReceiver)
logger = logging.getLogger("app")
running: Counter[str] = Counter()
"""Jobs of each visitor that have not ended."""
routes = web.RouteTableDef()


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
    journal=os.environ.get("JOURNAL", "jobs.sqlite"),
    webhook_base_url=f"{PUBLIC_URL}/fal" if PUBLIC_URL else None,
)


async def receive_webhooks(app: web.Application) -> AsyncIterator[None]:
    """Take fal's webhooks while the session is open."""
    app[RECEIVER] = WebhookReceiver(app[SESSION])
    fal.monitor.add(app[RECEIVER])
    yield
    await app[RECEIVER].aclose()


@routes.post("/fal/{intent}")
async def webhook(request: web.Request) -> web.Response:
    """Take one webhook."""
    return await request.app[RECEIVER].handle(request)


def refuse(code: int, detail: str, **headers: str) -> web.Response:
    """Return a refusal that the page shows."""
    return web.json_response({"detail": detail}, status=code, headers=headers)


def owner_of(request: web.Request) -> str | None:
    """Return who asks, None if nobody knows. The cookie itself is written down nowhere."""
    cookie = request.cookies.get("visitor", "")
    if not re.fullmatch(r"[\w-]{43}", cookie):
        return None
    return hashlib.sha256(cookie.encode()).hexdigest()[:32]


def is_of_own_page(request: web.Request) -> bool:
    """Return whether no page of another site has sent it with this visitor's cookie."""
    is_json = request.content_type == "application/json"
    return is_json and urlsplit(request.headers.get("Origin", "")).netloc == request.host


@routes.get("/")
async def page(request: web.Request) -> web.Response:
    """Show the page; a new visitor gets a cookie."""
    nonce = secrets.token_urlsafe(16)
    headers = {
        "Content-Security-Policy": POLICY.format(nonce=nonce),
        "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }
    text = PAGE.replace("{{nonce}}", nonce)
    response = web.Response(text=text, content_type="text/html", headers=headers)
    if "visitor" not in request.cookies:
        is_secure = PUBLIC_URL.startswith("https:")
        month_s = 30 * 24 * 3600
        response.set_cookie(
            *("visitor", secrets.token_urlsafe(32)),
            max_age=month_s,
            httponly=True,
            samesite="Strict",
            secure=is_secure,
        )
    return response


async def read_prompt(request: web.Request) -> str | None:
    """Return the prompt of an order, None if there is none."""
    try:
        given = await request.json()
    except ValueError:
        return None
    prompt = given.get("prompt") if isinstance(given, dict) else None
    is_good = isinstance(prompt, str) and 0 < len(prompt) <= LONGEST_PROMPT
    return prompt if is_good else None


@routes.post("/jobs")
async def order(request: web.Request) -> web.Response:
    """Submit a job; answer once fal has it."""
    owner, refusal = owner_of(request), fal.refusal()
    if not is_of_own_page(request) or owner is None:
        return refuse(403, "Only this page may ask.")
    if refusal is not None:
        return web.Response(
            body=refusal.body, status=refusal.status_code, headers=dict(refusal.headers)
        )
    prompt = await read_prompt(request)
    if prompt is None:
        return refuse(422, f"A prompt has 1 to {LONGEST_PROMPT} characters.")
    if running[owner] >= MOST_AT_ONCE:
        return refuse(429, f"{MOST_AT_ONCE} pictures at a time.", **{"Retry-After": "5"})
    job = secrets.token_urlsafe(16)
    session = request.app[SESSION]
    running[owner] += 1
    try:
        handle = await session.submit(ENDPOINT, {"prompt": prompt}, key=f"{owner}:{job}")
    except BaseException as error:
        let_go(owner)
        if not isinstance(error, falq.FalqError):
            raise
        logger.warning("a submit failed: %s", error)
        return refuse(502, "The picture could not be ordered.")
    fal.spawn(finish(session, handle, owner))
    return web.json_response({"id": job}, status=201)


@routes.get("/jobs/{job}/events")
async def events(request: web.Request) -> web.StreamResponse:
    """Tell a visitor's page how one of the visitor's jobs goes on."""
    session, owner = request.app[SESSION], owner_of(request)
    if owner is None:
        return refuse(403, "Only this page may ask.")
    record = await session.journal.load_job(key=f"{owner}:{request.match_info['job']}")
    if record is None or record.state is RecordState.PLANNED:
        return refuse(404, "There is no such picture.")
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    # A job that runs is followed, and one that has ended ends the same again.
    async with aclosing(tell(session.resume(record))) as told:
        try:
            async for text in told:
                await response.write(text.encode())
        except ConnectionResetError:
            logger.debug("the page is gone")
    return response


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


def make_app() -> web.Application:
    """Return the app, the session around it."""
    app = web.Application(client_max_size=64 * 1024)
    app.cleanup_ctx.append(fal.cleanup_ctx)
    app.cleanup_ctx.append(receive_webhooks)
    app.add_routes(routes)
    for path in ("/healthz", "/readyz", "/metrics"):
        app.router.add_get(path, fal.monitor.handle)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
