"""What keeps every submit of a session back.

Owns whether submits go out at all: not once `Session.stop_submitting` was called,
and for a while not after an error that meets them all, such as a refused key. It
never touches what was sent. The queue client asks it before each submit and tells
it what the account met; so does the driver with the ends of jobs.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable

from falq.errors import FalqError, SessionClosedError

logger = logging.getLogger("falq")

HALT_S = 30.0
"""How long submits are refused after an error that meets them all, in seconds."""


class Gatekeeper:
    """Lets submits through, or none.

    Args:
        clock: Loop time in seconds.
        withdraw: Takes back every job that no server knows of; each ends with an
            error of its own, which the given function makes.

    Attributes:
        is_held_back: Whether the session submits no more.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        withdraw: Callable[[Callable[[], FalqError]], None],
    ) -> None:
        self.is_held_back = False
        self._clock = clock
        self._withdraw = withdraw
        self._account_error: FalqError | None = None
        self._is_proven_by_submit = True
        self._halted_until = float("-inf")

    @property
    def is_halted(self) -> bool:
        """Whether submits are refused now for what the account met."""
        return self._account_error is not None and self._clock() < self._halted_until

    def check(self) -> None:
        """Raise unless a submit may be sent now.

        Raises:
            SessionClosedError: The session submits no more.
            FalqError: What the account met less than `HALT_S` ago.
        """
        if self.is_held_back:
            raise self.held_back_error()
        if self._account_error is None:
            return
        if self._clock() < self._halted_until:
            raise _refusal(self._account_error)
        # One submit finds out whether a person has acted meanwhile.
        self._halted_until = self._clock() + HALT_S

    def hold_back(self) -> None:
        """Let no submit through from now on, and take back what was not sent."""
        self.is_held_back = True
        self._withdraw(self.held_back_error)

    def held_back_error(self) -> SessionClosedError:
        """Return what a job ends with that is not submitted any more."""
        return SessionClosedError(
            "the session submits no more; the job was not sent, nothing was spent", retryable=True
        )

    def halt(self, error: FalqError) -> None:
        """Let no submit through for `HALT_S`: a submit met what meets them all."""
        is_known = self.is_halted
        self._account_error = error
        self._is_proven_by_submit = True
        self._halted_until = self._clock() + HALT_S
        if is_known:
            # Each of thousands of running jobs may bring the same news.
            return
        logger.error("no more submits for %g s: %s", HALT_S, error)
        self._withdraw(lambda: _refusal(error))

    def halt_after_submit(self, error: FalqError) -> None:
        """Let no submit through for `HALT_S`: a job met it whose submit was accepted."""
        self.halt(error)
        # The submit went well: another one that does proves nothing.
        self._is_proven_by_submit = False

    def resume(self) -> None:
        """Let submits through again, if one that was accepted proves that all is well."""
        if self._is_proven_by_submit:
            self._account_error = None

    def resume_after_job(self) -> None:
        """Let submits through again: a job ended well."""
        self._account_error = None


def _refusal(error: FalqError) -> FalqError:
    """Return an error without what ties it to the job that met it."""
    refusal = copy.copy(error)
    refusal.request_id = refusal.endpoint = refusal.intent_id = None
    refusal.possibly_billed = False
    return refusal
