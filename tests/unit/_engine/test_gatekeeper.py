from __future__ import annotations

import pytest

from falq._engine.gatekeeper import HALT_S, Gatekeeper
from falq.errors import AuthenticationError, SessionClosedError


class Gate:
    """A gatekeeper with a clock that is set by hand, and the errors of those it took back."""

    def __init__(self):
        self.now = 100.0
        self.taken_back = []
        self.keeper = Gatekeeper(clock=lambda: self.now, withdraw=self._withdraw)

    def _withdraw(self, make_error):
        self.taken_back += [make_error(), make_error()]

    def is_open(self):
        try:
            self.keeper.check()
        except (AuthenticationError, SessionClosedError):
            return False
        return True


def refused():
    return AuthenticationError(
        "no", status_code=401, request_id="r-1", endpoint="acme/echo", possibly_billed=True
    )


def test_after_a_refusal_one_submit_at_a_time_finds_out_whether_all_is_well():
    gate = Gate()
    gate.keeper.halt(refused())
    assert gate.keeper.is_halted
    assert not gate.is_open()
    gate.now += HALT_S
    assert not gate.keeper.is_halted
    assert [gate.is_open() for _ in range(3)] == [True, False, False]
    gate.keeper.resume()
    assert gate.is_open()


def test_who_is_refused_or_taken_back_hears_nothing_of_the_job_that_met_it():
    gate = Gate()
    met = refused()
    gate.keeper.halt(met)
    with pytest.raises(AuthenticationError) as caught:
        gate.keeper.check()
    errors = [*gate.taken_back, caught.value]
    assert len({id(error) for error in [*errors, met]}) == 4
    assert not any(error.request_id or error.endpoint for error in errors)
    assert not any(error.possibly_billed for error in errors)
    assert met.request_id == "r-1"


def test_the_same_news_again_takes_nobody_back():
    gate = Gate()
    gate.keeper.halt(refused())
    gate.keeper.halt(refused())
    assert len(gate.taken_back) == 2


def test_an_accepted_submit_proves_nothing_where_one_was_accepted_before_the_refusal():
    gate = Gate()
    gate.keeper.halt_after_submit(refused())
    gate.keeper.resume()
    assert not gate.is_open()
    gate.keeper.resume_after_job()
    assert gate.is_open()


def test_who_holds_back_lets_nothing_through_again():
    gate = Gate()
    gate.keeper.hold_back()
    gate.keeper.resume_after_job()
    gate.now += 1000.0
    assert not gate.is_open()
    assert {type(error) for error in gate.taken_back} == {SessionClosedError}
    assert all(error.retryable for error in gate.taken_back)
