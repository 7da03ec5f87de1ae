"""OpenTelemetry's SDK, exporting into memory."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from falq.telemetry import Telemetry


class Collected:
    """A tracer and a meter provider of its own, and what reached them."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meter_provider = MeterProvider([self._reader], shutdown_on_exit=False)

    def telemetry(self, **settings: Any) -> Telemetry:
        return Telemetry(
            tracer_provider=self.tracer_provider, meter_provider=self.meter_provider, **settings
        )

    def spans(self, start: str = "falq ") -> list[ReadableSpan]:
        return [span for span in self._spans.get_finished_spans() if span.name.startswith(start)]

    def span(self) -> ReadableSpan:
        (span,) = self.spans()
        return span

    def points(self) -> dict[str, list[Any]]:
        """The points of every metric, by its name."""
        return {metric.name: list(metric.data.data_points) for metric in self._metrics()}

    def units(self) -> dict[str, str]:
        """The unit of every metric, by its name."""
        return {metric.name: metric.unit for metric in self._metrics()}

    def _metrics(self) -> list[Any]:
        data = self._reader.get_metrics_data()
        return [
            metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]

    def everything(self) -> str:
        """All that an exporter would see, as text."""
        return "".join(span.to_json() for span in self.spans()) + repr(self.points())


@pytest.fixture
def anyio_backend() -> str:
    """Sockets are real here: a virtual clock would run ahead of them."""
    return "asyncio"


@pytest.fixture
def collected() -> Collected:
    return Collected()
