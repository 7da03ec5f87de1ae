"""The queue as actions that agents call: plain values in, an envelope out, no exceptions.

    schemas   names, parameters and outputs of the four actions
    actions   the four actions
    limits    which jobs an agent may start: endpoints, number, money
    tools     the actions, subscribe and upload, as the tools of a server
    server    those tools over the Model Context Protocol

Owns what lets an agent use a session without being able to break it or to
outspend it. It never speaks HTTP: the session does. Agent frameworks and the
command line's `mcp` call it.
"""

from __future__ import annotations

from falq.actions.actions import Actions as Actions
from falq.actions.actions import AppIds as AppIds
from falq.actions.actions import Jobs as Jobs
from falq.actions.limits import LimitedJobs as LimitedJobs
from falq.actions.schemas import ACTIONS as ACTIONS
from falq.actions.schemas import Action as Action
from falq.actions.schemas import Envelope as Envelope

__all__ = ["ACTIONS", "Action", "Actions", "AppIds", "Envelope", "Jobs", "LimitedJobs"]
