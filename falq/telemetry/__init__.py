"""Jobs as OpenTelemetry spans and metrics.

    telemetry     the hook: which job is where, and its span at the end
    instruments   the metrics
    wording       events and errors as names and attributes

Owns the translation of a session's events. It never exports anything and never
sets a provider: the application does. Only OpenTelemetry's API is imported;
without that extra, importing this is a `ConfigError` with the command that brings
it. Applications call it: `Session(on_event=Telemetry())`.
"""

from __future__ import annotations

from falq.errors import ConfigError

try:
    from falq.telemetry.telemetry import Telemetry as Telemetry
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "opentelemetry":
        raise
    raise ConfigError(
        "falq.telemetry needs its extra: pip install 'falq[otel]'", setting="on_event"
    ) from None

__all__ = ["Telemetry"]
