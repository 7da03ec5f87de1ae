"""Tell the session's observer what happens to a job.

Owns the event that is made of a job, and that an observer which raises disturbs
nothing. The driver and those whom it composes call it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from falq import events
from falq._engine.job import Job

logger = logging.getLogger("falq")


class Teller:
    """Tells the observer of events.

    Args:
        hook: The session's observer, if there is one.
        clock: Loop time in seconds.
    """

    def __init__(self, hook: events.Hook | None, clock: Callable[[], float]) -> None:
        self._hook = hook
        self._clock = clock

    @property
    def is_heard(self) -> bool:
        """Whether there is an observer, so that facts need not be gathered for nobody."""
        return self._hook is not None

    def __call__(self, kind: type[events.Event], job: Job, **facts: Any) -> None:
        """Tell of an event; never raises.

        Args:
            kind: What happened.
            job: To which job.
            facts: What the kind has beside the job's own facts.
        """
        if self._hook is None:
            return
        event = kind(
            job_id=job.job_id,
            endpoint=job.endpoint,
            request_id=job.request_id,
            now=self._clock(),
            **facts,
        )
        try:
            self._hook(event)
        except Exception:
            logger.exception("the session's event hook raised; the event is dropped")
