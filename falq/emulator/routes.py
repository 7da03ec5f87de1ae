"""The emulator as a function: a request and an instant in, a reply out.

Owns the choice of the answer to each call. It never reads a clock or touches a
socket, so the same application runs behind the socket server and behind an
in-memory transport in virtual time. The queue is `state`'s, the bodies are
`wire`'s, the faults are `faults`'; the Maton side is the fal side behind
`maton`'s checks.

| path | what |
|---|---|
| `/{endpoint}`, `/{app}/requests/…` | fal's queue |
| `/_maton/fal-ai/…`, `/_maton/connections` | the same through Maton, and its control API |
| `/_platform/models/…` | the Platform API: request history and prices |
| `/files/…` | the models' media, public |
| `/_emulator/stats`, `/_emulator/reset` | counts; back to the start |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from urllib.parse import parse_qs

from attrs import asdict, evolve

from falq.emulator import wire
from falq.emulator.addresses import Address, read_address
from falq.emulator.endings import encode
from falq.emulator.faults import FaultPlan, Scene, strike
from falq.emulator.files import PREFIX as FILES_PREFIX
from falq.emulator.files import MediaShelf
from falq.emulator.jobs import Job
from falq.emulator.maton import APP, CONNECTIONS, MatonGateway
from falq.emulator.maton import PREFIX as MATON_PREFIX
from falq.emulator.messages import Reply, Request
from falq.emulator.models.base import Model
from falq.emulator.orders import BadTimeoutError, read_order
from falq.emulator.platform import PREFIX as PLATFORM_PREFIX
from falq.emulator.platform import PlatformApi
from falq.emulator.ranges import serve_range
from falq.emulator.scenario import FAL_QUEUE_URL, Fault, Scenario
from falq.emulator.state import DEFAULT_WALL_OFFSET_S, Queue, QueueFullError
from falq.emulator.statistics import Statistics

_CONTROL_PREFIX = "/_emulator/"
# Fills the place of a request id in answers to calls that never made a job.
_NO_JOB_ID = "00000000-0000-7000-8000-000000000000"


class App:
    """The whole emulator but for its sockets.

    Args:
        scenario: Its behavior.
        find_model: Gives the model of an endpoint id.
        base_url: Its own origin, for the URLs it hands out.
        wall_offset_s: Unix time of instant 0. Default: the start of 2026.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        find_model: Callable[[str], Model],
        base_url: str = FAL_QUEUE_URL,
        wall_offset_s: float = DEFAULT_WALL_OFFSET_S,
    ) -> None:
        self.scenario = scenario
        self.files = MediaShelf(base_url)
        self._find_model = find_model
        self._wall_offset_s = wall_offset_s
        self._base = wire.advertised_base(scenario, base_url)
        self._credentials = frozenset(f"Key {key}" for key in scenario.keys)
        self.reset()

    def reset(self) -> None:
        """Go back to the start: no jobs, files, counts or drawn chance."""
        self.files.clear()
        self.queue = Queue(
            self.scenario,
            files=self.files,
            find_model=self._find_model,
            wall_offset_s=self._wall_offset_s,
        )
        self._faults = FaultPlan(self.scenario.faults, self.scenario.seed)
        self._maton = MatonGateway(self.scenario, wall_offset_s=self._wall_offset_s)
        self._platform = PlatformApi(self.scenario, self.queue)
        self._writer = wire.StatusWriter(self.scenario, self.queue)
        self._replies: Counter[int] = Counter()
        # Counted by whoever accepts connections.
        self.connections = 0

    def handle(self, request: Request, now: float) -> Reply:
        """Answer one request.

        Args:
            request: The request.
            now: The instant in seconds, never before that of an earlier call.
        """
        self.queue.advance(now)
        path = request.path
        if path.startswith(_CONTROL_PREFIX):
            return self._control(request)
        if path.startswith(FILES_PREFIX):
            reply = self._serve_file(request, now)
        elif path.startswith(MATON_PREFIX):
            reply = self._pass_maton(request, path[len(MATON_PREFIX) :], now)
        elif path.startswith(f"{PLATFORM_PREFIX}/"):
            reply = self._answer_platform(request, path[len(PLATFORM_PREFIX) :], now)
        else:
            refusal = self._check_key(request)
            reply = self._answer(request, path, self._base, now, refusal)
        self._replies[reply.status_code] += 1
        return self._delayed(reply) if self.scenario.latency_s else reply

    def statistics(self) -> Statistics:
        """Return the counts since the start or the last reset."""
        queue = self.queue
        polls = [job.polls for job in queue.jobs.values()]
        return Statistics(
            calls=dict(self._faults.calls),
            replies={str(code): count for code, count in sorted(self._replies.items())},
            faults=dict(self._faults.struck),
            connections=self.connections,
            submits=self._faults.calls["submit"],
            jobs=len(queue.jobs),
            jobs_by_state=queue.count_states(),
            in_progress_peak=queue.peaks.in_progress,
            queued_peak=queue.peaks.queued,
            runs=queue.peaks.runs,
            polls_total=sum(polls),
            polls_mean=sum(polls) / len(polls) if polls else 0.0,
            polls_max=max(polls, default=0),
            polls_histogram=dict(sorted(Counter(polls).items())),
            duplicates=queue.ledger.duplicates,
            jobs_per_input=queue.ledger.jobs_per_input,
            repeated_intents=queue.ledger.repeated_intents,
        )

    def _control(self, request: Request) -> Reply:
        if (request.method, request.path) == ("GET", "/_emulator/stats"):
            return wire.json_reply(200, encode(asdict(self.statistics())))
        if (request.method, request.path) == ("POST", "/_emulator/reset"):
            self.reset()
            return wire.json_reply(200, b"{}")
        return wire.json_reply(404, wire.NOT_FOUND["detail"])

    def _serve_file(self, request: Request, now: float) -> Reply:
        def serve() -> Reply:
            file = self.files.read(request.path) if request.method == "GET" else None
            if file is None:
                return wire.json_reply(404, wire.NOT_FOUND["detail"])
            return serve_range(
                file,
                request,
                version=self._faults.calls["file"] if self.scenario.has_changing_files else 0,
                has_ranges=self.scenario.has_file_ranges,
            )

        return self._under_fault(self._faults.pick("file"), serve, _NO_JOB_ID, now)

    def _pass_maton(self, request: Request, path: str, now: float) -> Reply:
        refusal = self._maton.refuse(request, now)
        if path.rstrip("/") == CONNECTIONS:
            fault = self._faults.pick("connections")
            return self._under_fault(
                fault, lambda: refusal or self._list_connections(request), _NO_JOB_ID, now
            )
        if not path.startswith(f"{APP}/"):
            return refusal or wire.json_reply(404, b'{"error":"Unknown app"}')
        refusal = refusal or self._maton.refuse_connection(request)
        return self._answer(request, path[len(APP) :], FAL_QUEUE_URL, now, refusal)

    def _list_connections(self, request: Request) -> Reply:
        if request.method != "GET":
            return wire.json_reply(405, b'{"error":"Method Not Allowed"}', ("allow", "GET"))
        return self._maton.list_connections(request)

    def _answer_platform(self, request: Request, path: str, now: float) -> Reply:
        refusal = self._check_key(request)
        reply = self._under_fault(
            self._faults.pick(self._platform.verb_of(path)),
            lambda: refusal or self._platform.answer(request, path, now),
            _NO_JOB_ID,
            now,
        )
        return self._platform.in_own_form(reply)

    def _check_key(self, request: Request) -> Reply | None:
        credential = request.headers.get("authorization", "")
        if credential in self._credentials or not self.scenario.is_key_needed:
            return None
        scheme, _, key = credential.partition(" ")
        if not credential:
            body = wire.NO_KEY
        elif scheme.lower() != "key":
            body = wire.OTHER_SCHEME
        elif ":" not in key:
            body = wire.BAD_KEY_FORMAT
        else:
            body = wire.UNKNOWN_KEY
        return wire.json_reply(401, body)

    def _answer(
        self, request: Request, path: str, base: str, now: float, refusal: Reply | None
    ) -> Reply:
        """Answer a call on a native path of the queue."""
        address = read_address(request.method, path)
        job = self.queue.find(address.request_id, address.app) if address.request_id else None
        verb = address.verb or "unknown"
        fault = self._faults.pick(verb, age_s=None if job is None else now - job.submitted)

        def process() -> Reply:
            return (
                refusal
                or self._refuse_path(request, path, address)
                or self._process(request, address, job, base, now, fault)
            )

        if fault is None:
            return process()
        return self._under_fault(fault, process, address.request_id or _NO_JOB_ID, now)

    def _under_fault(
        self, fault: Fault | None, process: Callable[[], Reply], request_id: str, now: float
    ) -> Reply:
        if fault is None:
            return process()
        wall_s = self.queue.wall_s(now)
        if fault.is_before:
            return strike(fault, Scene(request_id=request_id, wall_s=wall_s))
        reply = process()
        known_id = dict(reply.headers).get("x-fal-request-id", request_id)
        return strike(fault, Scene(request_id=known_id, wall_s=wall_s, reply=reply))

    def _refuse_path(self, request: Request, path: str, address: Address) -> Reply | None:
        if path.endswith("/") and self.scenario.trailing_slash == "redirect":
            kept = request.path.rstrip("/") + (f"?{request.query}" if request.query else "")
            return Reply(status_code=307, headers=(("location", kept),))
        if address.has_sub_path and self.scenario.sub_path == "405":
            return wire.json_reply(405, wire.METHOD_NOT_ALLOWED, ("allow", "POST"))
        if address.verb is not None:
            return None
        if address.refusal == 405:
            return wire.json_reply(405, wire.METHOD_NOT_ALLOWED, ("allow", address.allow))
        return wire.json_reply(404, encode({"detail": f"Path {path} not found"}))

    def _process(
        self,
        request: Request,
        address: Address,
        job: Job | None,
        base: str,
        now: float,
        fault: Fault | None,
    ) -> Reply:
        if address.verb == "submit":
            return self._submit(request, address, base, now)
        if job is None:
            return self._not_found()
        if address.verb == "result":
            return self._tell_result(job, now)
        if address.verb == "cancel":
            return self._cancel(job, now)
        if fault is not None and fault.kind == "flap":
            return self._tell_old_status(job, base)
        is_logged = "logs" in request.query and _wants_logs(request.query)
        return self._tell_status(job, base, now, is_logged=is_logged)

    def _submit(self, request: Request, address: Address, base: str, now: float) -> Reply:
        if self.scenario.is_locked:
            return wire.json_reply(403, wire.LOCKED)
        if address.app in self.scenario.absent_apps:
            return wire.json_reply(
                404, encode({"detail": f'Application "{address.app}" not found'})
            )
        try:
            job, position = self.queue.submit(read_order(request, address), now)
        except BadTimeoutError:
            return wire.json_reply(400, wire.BAD_TIMEOUT, ("x-fal-error-type", "bad_request"))
        except QueueFullError:
            return wire.json_reply(429, wire.QUEUE_FULL)
        body = self._writer.submitted(job, base, position)
        return wire.json_reply(self.scenario.submit_code, body, _id_header(job))

    def _tell_status(self, job: Job, base: str, now: float, *, is_logged: bool) -> Reply:
        job.polls += 1
        logs = self.queue.logs(job, now) if is_logged else None
        if job.state == "done":
            return wire.json_reply(200, self._writer.completed(job, base, logs), _id_header(job))
        if job.state == "queued":
            body = self._writer.queued(job, base, self.queue.position(job))
        elif self.scenario.skips_in_progress:
            body = self._writer.queued(job, base, 0)
        else:
            body = self._writer.running(job, base, logs)
        code = 200 if self.scenario.is_status_always_200 else 202
        return wire.json_reply(code, body, _id_header(job))

    def _tell_old_status(self, job: Job, base: str) -> Reply:
        """Answer one step behind the truth, as a lagging replica would."""
        job.polls += 1
        if job.state == "done" and job.attempt:
            return wire.json_reply(202, self._writer.running(job, base, None), _id_header(job))
        return wire.json_reply(202, self._writer.queued(job, base, 0), _id_header(job))

    def _tell_result(self, job: Job, now: float) -> Reply:
        if job.ending is None:
            return self._tell_early(job)
        if now >= job.expires:
            return self._not_found()
        ending = job.ending
        return wire.json_reply(ending.status_code, ending.body, _id_header(job), *ending.headers)

    def _tell_early(self, job: Job) -> Reply:
        code = self.scenario.early_result
        if code == 404:
            return self._not_found()
        return wire.json_reply(code, wire.EARLY, _id_header(job))

    def _cancel(self, job: Job, now: float) -> Reply:
        code, body = wire.CANCEL_BODIES[self.queue.cancel(job, now)]
        return wire.json_reply(code, body, _id_header(job))

    def _not_found(self) -> Reply:
        return wire.json_reply(404, wire.NOT_FOUND[self.scenario.unknown_id])

    def _delayed(self, reply: Reply) -> Reply:
        delay_s = reply.transmission.delay_s + self.scenario.latency_s
        return evolve(reply, transmission=evolve(reply.transmission, delay_s=delay_s))


def _id_header(job: Job) -> tuple[str, str]:
    return ("x-fal-request-id", job.request_id)


def _wants_logs(query: str) -> bool:
    return parse_qs(query).get("logs", ["0"])[-1].lower() in {"1", "true"}
