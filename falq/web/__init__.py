"""falq in web apps: a session for the app's life, and fal for browsers without the key.

    AppSession      opens a session with the app, closes it with the app
    Monitor         health, readiness and metrics of one
    SESSION         where an aiohttp app keeps it
    Answer          what to answer a call with
    FalProxy        what `@fal-ai/client` speaks to: an ASGI application and an aiohttp handler
    ProxyRequest    what its authentication is asked about
    ProxyLimits     what one user may do
    ProxyStatistics its counts

The rooms of the session: `settings` (its arguments), `workers` (its journal), `adoption`
(the journals of workers that are gone), `draining` (the word that the app ends) and
`following` (statuses for a page) -> `app_session` (from start to end) with `asgi_life`
(under ASGI servers); `metrics` (its counts as text, pure) -> `monitor`. Those of the proxy:
`proxy` (what may pass, pure) and `allowance` (how much of it, pure) -> `relay` (the order
of it all) -> `faces`. `asgi` and `aio` bring both to web servers.
"""

from __future__ import annotations

from falq.web.allowance import ProxyLimits as ProxyLimits
from falq.web.app_session import SESSION as SESSION
from falq.web.app_session import AppSession as AppSession
from falq.web.faces import FalProxy as FalProxy
from falq.web.monitor import Monitor as Monitor
from falq.web.proxy import Answer as Answer
from falq.web.relay import ProxyRequest as ProxyRequest
from falq.web.relay import ProxyStatistics as ProxyStatistics

__all__ = [
    "SESSION",
    "Answer",
    "AppSession",
    "FalProxy",
    "Monitor",
    "ProxyLimits",
    "ProxyRequest",
    "ProxyStatistics",
]
