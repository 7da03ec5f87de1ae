"""The emulator's own writing of fal's bodies.

Owns their keys, key order and texts. It shares nothing with the client, so a
misspelt field cannot agree with itself. It never decides which body is due:
`routes` does. The key order is that of captured answers; the golden files of the
tests hold it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from attrs import frozen

from falq.emulator.jobs import Job, LogLine
from falq.emulator.messages import Reply
from falq.emulator.scenario import FAL_QUEUE_URL, Scenario
from falq.emulator.state import Queue

JSON_HEADERS = (("content-type", "application/json"),)

NOT_FOUND = {"status": b'{"status":"NOT_FOUND"}', "detail": b'{"detail":"Request not found"}'}
EARLY = b'{"detail":"Request is still in progress"}'
METHOD_NOT_ALLOWED = b'{"detail":"Method Not Allowed"}'
QUEUE_FULL = b'{"detail":"Queue is full: maximum queue length reached"}'
BAD_TIMEOUT = (
    b'{"detail":"X-Fal-Request-Timeout must be a number of seconds above 0.1",'
    b'"error_type":"bad_request"}'
)
NO_KEY = b'{"detail":"Authentication is required to access this application."}'
BAD_KEY_FORMAT = (
    b'{"detail":"Invalid Key Authorization header format. Expected \'<key_id>:<key_secret>\'."}'
)
UNKNOWN_KEY = b'{"detail":"No user found for Key ID and Secret"}'
OTHER_SCHEME = b'{"detail":"invalid key credentials"}'
LOCKED = (
    b'{"detail":"User is locked. Reason: Exhausted balance. '
    b'Top up your balance at fal.ai/dashboard/billing."}'
)
CANCEL_BODIES = {
    "requested": (202, b'{"status":"CANCELLATION_REQUESTED"}'),
    "removed": (200, b'{"status":"OK"}'),
    "already_completed": (400, b'{"status":"ALREADY_COMPLETED"}'),
}


def json_reply(status_code: int, body: bytes, *headers: tuple[str, str]) -> Reply:
    """Return a JSON reply with further headers."""
    return Reply(status_code=status_code, headers=JSON_HEADERS + headers, body=body)


def advertised_base(scenario: Scenario, own_url: str) -> str:
    """Return the base of the URLs in bodies on fal's side."""
    host = own_url.partition("://")[2]
    bases = {
        "own": own_url,
        "fal": FAL_QUEUE_URL,
        "foreign": scenario.foreign_url,
        "http": "http://queue.fal.run",
        "userinfo": f"https://queue.fal.run@{host}",
        "port": "https://queue.fal.run:8443",
    }
    return bases[scenario.advertised]


@frozen
class StatusWriter:
    """Writes the bodies that tell where a job stands.

    Attributes:
        scenario: Which variants to write.
        queue: The queue that the jobs are in.
    """

    scenario: Scenario
    queue: Queue

    def submitted(self, job: Job, base: str, position: int) -> bytes:
        """Return the body of a good submit."""
        head = f'"request_id":"{job.request_id}",{self._urls(job, base)}'
        if self.scenario.has_gateway_request_id:
            head += f',"gateway_request_id":"{job.request_id}"'
        if self.scenario.submit_body == "no_status":
            return f"{{{head}}}".encode()
        rest = f'"logs":null,"metrics":{{}},"queue_position":{position}'
        return f'{{"status":"IN_QUEUE",{head},{rest}}}'.encode()

    def queued(self, job: Job, base: str, position: int) -> bytes:
        """Return the status of a job in the line."""
        return self._status(job, base, "IN_QUEUE", None, f',"queue_position":{position}')

    def running(self, job: Job, base: str, logs: Sequence[LogLine] | None) -> bytes:
        """Return the status of a job in progress."""
        return self._status(job, base, self.scenario.unknown_state or "IN_PROGRESS", logs, "")

    def completed(self, job: Job, base: str, logs: Sequence[LogLine] | None) -> bytes:
        """Return the status of a job that has ended."""
        ending, scenario = job.ending, self.scenario
        word, rest = "COMPLETED", ""
        if ending is not None and ending.state != "succeeded":
            word = scenario.failed_word or word
            error = ending.error
            if error is None and scenario.has_error_on_422:
                error = f"Invalid status code: {ending.status_code}"
            if error is not None:
                rest += f',"error":{json.dumps(error)}'
            if ending.error_type is not None:
                rest += f',"error_type":{json.dumps(ending.error_type)}'
        # A job that never ran has no inference time.
        metrics = f'{{"inference_time":{job.run_s!r}}}' if job.attempt else "{}"
        return self._status(job, base, word, logs, rest, metrics)

    def _status(
        self,
        job: Job,
        base: str,
        word: str,
        logs: Sequence[LogLine] | None,
        rest: str,
        metrics: str = "{}",
    ) -> bytes:
        head = f'"status":{json.dumps(word)},"request_id":"{job.request_id}"'
        if self.scenario.shown_fields == "short":
            shown = "" if metrics == "{}" else f',"metrics":{metrics}'
            return f"{{{head}{shown}{rest}}}".encode()
        logs_field = (
            "" if self.scenario.logs_form == "absent" else f',"logs":{self._logs_json(logs)}'
        )
        urls = self._urls(job, base)
        return f'{{{head},{urls}{logs_field},"metrics":{metrics}{rest}}}'.encode()

    def _urls(self, job: Job, base: str) -> str:
        stem = f"{base}/{quote(job.order.app)}/requests/{job.request_id}"
        response = stem
        if self.scenario.has_response_suffix:
            response = f"{base}/{quote(job.order.endpoint)}/requests/{job.request_id}/response"
        return (
            f'"response_url":"{response}","status_url":"{stem}/status","cancel_url":"{stem}/cancel"'
        )

    def _logs_json(self, logs: Sequence[LogLine] | None) -> str:
        if logs is None:
            return "null"
        entries = [self._log_entry(line) for line in logs[-self.scenario.log_window :]]
        if self.scenario.has_duplicate_logs:
            entries = [entry for entry in entries for _ in range(2)]
        return json.dumps(entries, separators=(",", ":"))

    def _log_entry(self, line: LogLine) -> dict[str, object]:
        at = datetime.fromtimestamp(self.queue.wall_s(line.instant), UTC)
        if self.scenario.logs_form == "A":
            return {
                "message": line.message,
                "level": "INFO",
                "source": "USER",
                "timestamp": at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            }
        plain = at.replace(tzinfo=None).isoformat(timespec="microseconds")
        return {"timestamp": plain, "message": line.message, "labels": {}}
