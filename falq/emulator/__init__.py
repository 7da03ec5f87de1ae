"""An emulated fal.ai queue to test, demonstrate and measure against.

    Scenario, Fault     how it behaves and what goes wrong
    Emulator            the emulator on real sockets
    App                 the same without sockets: a request and an instant in, a reply out
    Request, Reply,
    Transmission        what goes in and comes out of an `App`
    Statistics          what it saw

The rooms: `scenario` (settings) -> `state` (the queue, pure) -> `routes` (the
answers, pure) -> `delivery` and `server` (sockets). `models` holds what runs the
jobs. Nothing here shares wire code with the client.
"""

from __future__ import annotations

from falq.emulator.messages import Feed as Feed
from falq.emulator.messages import Reply as Reply
from falq.emulator.messages import Request as Request
from falq.emulator.messages import Step as Step
from falq.emulator.messages import Transmission as Transmission
from falq.emulator.routes import App as App
from falq.emulator.scenario import Fault as Fault
from falq.emulator.scenario import Scenario as Scenario
from falq.emulator.server import Emulator as Emulator
from falq.emulator.statistics import Statistics as Statistics

__all__ = [
    "App",
    "Emulator",
    "Fault",
    "Feed",
    "Reply",
    "Request",
    "Scenario",
    "Statistics",
    "Step",
    "Transmission",
]
