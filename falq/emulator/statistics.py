"""What the emulator saw: counts for tests, benchmarks and the curious.

Owns the record that `/_emulator/stats` shows and the counting of inputs that
came twice. It never looks at a clock. `state` counts jobs, `routes` counts
calls, `server` counts connections.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from hashlib import blake2b

from attrs import field, frozen


@frozen(kw_only=True)
class Statistics:
    """A snapshot of the counts since the start or the last reset.

    Attributes:
        calls: Calls by verb, refused ones too.
        replies: Replies by HTTP status; replies that a fault swallowed count as 0.
        faults: Faults that struck, by kind.
        connections: Connections accepted.
        submits: Submit calls seen, whatever came of them.
        jobs: Jobs that exist because of them.
        jobs_by_state: Jobs by where they stand: `queued`, `running`,
            `succeeded`, `failed`, `cancelled`, `timed_out`.
        in_progress_peak: Most jobs in progress at once.
        queued_peak: Longest the line ever was.
        runs: Runs started, the server's own retries included.
        polls_total: Status calls for jobs that exist.
        polls_mean: The same per job.
        polls_max: Most status calls for one job.
        polls_histogram: Jobs by number of status calls.
        duplicates: Jobs whose endpoint and input equal those of an earlier job.
        jobs_per_input: How many inputs made so many jobs, for inputs that came
            without an `X-Falq-Intent` header.
        repeated_intents: Jobs whose `X-Falq-Intent` an earlier job had carried.
        uploads: Files that were uploaded.
        uploads_open: Uploads that were begun and not finished.
        upload_parts: Parts that came in; a file in one piece is one part.
        uploaded_bytes: Bytes that came in, those of unfinished uploads as well.
        keys_at_storage: Calls to storage hosts that carried a fal key.
        tokens: Tokens of sockets that were handed out.
        sockets: Websockets that were opened.
        sockets_open: Of these, those that are open.
        socket_messages: Messages that came to realtime apps.
        socket_results: Results that they gave.
        socket_dropped: Messages dropped because more than `max_buffering` waited.
        deliveries: Webhooks by what became of them: `sent` counts attempts, of which
            `accepted`, `refused` and `redirected` are the answers; `given_up`,
            `dropped` (not on loopback) and `lost` count deliveries.
    """

    calls: Mapping[str, int]
    replies: Mapping[str, int]
    faults: Mapping[str, int]
    connections: int
    submits: int
    jobs: int
    jobs_by_state: Mapping[str, int]
    in_progress_peak: int
    queued_peak: int
    runs: int
    polls_total: int
    polls_mean: float
    polls_max: int
    polls_histogram: Mapping[int, int]
    duplicates: int
    jobs_per_input: Mapping[int, int]
    repeated_intents: int
    uploads: int = 0
    uploads_open: int = 0
    upload_parts: int = 0
    uploaded_bytes: int = 0
    keys_at_storage: int = 0
    tokens: int = 0
    sockets: int = 0
    sockets_open: int = 0
    socket_messages: int = 0
    socket_results: int = 0
    socket_dropped: int = 0
    deliveries: Mapping[str, int] = field(factory=dict)


@frozen
class InputLedger:
    """Counts how often an input came, without keeping inputs."""

    _inputs: Counter[bytes] = field(factory=Counter)
    _without_intent: Counter[bytes] = field(factory=Counter)
    _intents: Counter[str] = field(factory=Counter)

    def record(self, endpoint: str, arguments: object, intent: str | None) -> None:
        """Count one job."""
        canonical = json.dumps([endpoint, arguments], sort_keys=True, separators=(",", ":"))
        digest = blake2b(canonical.encode(), digest_size=16).digest()
        self._inputs[digest] += 1
        if intent is None:
            self._without_intent[digest] += 1
        else:
            self._intents[intent] += 1

    @property
    def duplicates(self) -> int:
        """Jobs beyond the first of each endpoint and input."""
        return self._inputs.total() - len(self._inputs)

    @property
    def jobs_per_input(self) -> dict[int, int]:
        """Number of inputs by the number of jobs they made, without an intent."""
        return dict(sorted(Counter(self._without_intent.values()).items()))

    @property
    def repeated_intents(self) -> int:
        """Jobs beyond the first of each intent."""
        return self._intents.total() - len(self._intents)
