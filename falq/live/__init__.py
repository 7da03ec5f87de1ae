"""What comes while it happens: direct runs, output streams, realtime conversations, sockets.

    direct              runs without the queue, answered when the model is done
    output              partial outputs of such a run, as they come
    realtime            messages in, results out, over one socket after another
    realtime_options    what is chosen for it
    realtime_inbox      what waits for its reader
    realtime_messages   msgpack and JSON
    sockets             one websocket on aiohttp
    sockets_options     what is chosen for it
    sockets_opening     its handshake
    sockets_raw         the socket of an app whose frames are its own business
    tokens              what opens a socket in place of the key

Owns connections that last, beside the queue. Only a gateway with the ability
`realtime` or `run` reaches them; every one ends with its session.
"""

from __future__ import annotations

from falq.live.direct import RunKeywords as RunKeywords
from falq.live.output import OutputStream as OutputStream
from falq.live.realtime import RealtimeConnection as RealtimeConnection
from falq.live.realtime import RealtimeStatistics as RealtimeStatistics
from falq.live.realtime_options import RealtimeKeywords as RealtimeKeywords
from falq.live.sockets_options import SocketKeywords as SocketKeywords
from falq.live.sockets_raw import RunnerSocket as RunnerSocket
