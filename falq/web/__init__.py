"""fal for browsers: the proxy that `@fal-ai/client` speaks to, with the key kept on the server.

    FalProxy        an ASGI application and an aiohttp handler
    ProxyRequest    what its authentication is asked about
    ProxyLimits     what one user may do
    ProxyStatistics its counts

The rooms: `proxy` (what may pass, pure) and `allowance` (how much of it, pure) ->
`relay` (the order of it all) -> `asgi`, `aio` and `faces` (web servers).
"""

from __future__ import annotations

from falq.web.allowance import ProxyLimits as ProxyLimits
from falq.web.faces import FalProxy as FalProxy
from falq.web.relay import ProxyRequest as ProxyRequest
from falq.web.relay import ProxyStatistics as ProxyStatistics

__all__ = ["FalProxy", "ProxyLimits", "ProxyRequest", "ProxyStatistics"]
