"""The metrics of jobs.

Owns the instruments: their names, units and buckets. It never decides when
something is counted: `telemetry` does. The endpoint is the only label that grows
with use; job and request ids are for spans.
"""

from __future__ import annotations

from typing import Final

from opentelemetry.metrics import Histogram, Meter

BUCKETS_S: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500)
"""Bounds of the histograms, in seconds: from a picture's fraction to a video's hour.

OpenTelemetry's own begin 0, 5, 10, which would put every picture into one bucket.
"""


class Instruments:
    """What jobs are counted and measured with.

    Args:
        meter: Makes the instruments.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.in_flight = meter.create_up_down_counter(
            "falq.jobs.in_flight", unit="{job}", description="Jobs that hold a slot"
        )
        self.duration = self._seconds(
            "falq.job.duration", "From submission to outcome; its count is that of settled jobs"
        )
        self.slot_wait = self._seconds("falq.job.slot_wait", "In falq's line, until admitted")
        self.queue_wait = self._seconds(
            "falq.job.queue_wait", "In the server's queue, until seen in progress"
        )
        self.run_time = self._seconds(
            "falq.job.run_time", "On a runner: as the server measured it, else as seen"
        )
        self.retries = meter.create_counter(
            "falq.retries", unit="{retry}", description="Calls repeated after a failure"
        )
        self.resends = meter.create_counter(
            "falq.resends",
            unit="{submit}",
            description="Submits repeated after a lost answer; each may cost twice",
        )
        self.polls = meter.create_counter(
            "falq.polls", unit="{poll}", description="Status checks, answered or failed"
        )

        self.billable_units = meter.create_counter(
            "falq.billable_units",
            unit="{unit}",
            description="What the service said that it billed; each endpoint has its own unit",
        )
        self.spend = meter.create_counter(
            "falq.spend",
            unit="{USD}",
            description="The same in US dollars, where units and price are both known",
        )

    def _seconds(self, name: str, description: str) -> Histogram:
        return self._meter.create_histogram(
            name, unit="s", description=description, explicit_bucket_boundaries_advisory=BUCKETS_S
        )
