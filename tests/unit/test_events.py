from __future__ import annotations

import attrs
import pytest

from falq import events
from falq.events import Event

KINDS = [
    kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_event_says_whose_it_is_and_cannot_be_changed(kind):
    values = {field.name: 0 for field in attrs.fields(kind)}
    event = kind(**values)
    assert {"job_id", "endpoint", "request_id", "now"} <= set(values)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.job_id = 2


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_event_is_explained(kind):
    assert kind.__doc__
