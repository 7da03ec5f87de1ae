"""Builders of values for tests. Nothing here asserts."""

from tests.support.builders import a_reply as a_reply
from tests.support.builders import a_submission as a_submission
from tests.support.builders import a_ticket as a_ticket
from tests.support.simulation import Simulation as Simulation
