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
| `/_maton/connect` | the page where a connection's fal key is entered |
| `/_run/{endpoint}`, `/_run/{endpoint}/stream` | direct runs and output streams |
| `/_platform/models…` | the Platform API: models, prices, history, usage, deletion |
| `/_rest/storage/…`, `/_cdn/files/…`, `/_signed/…` | uploads |
| `/_rest/.well-known/jwks.json` | the keys that webhooks are signed with, public |
| `/_rest/tokens/…` | tokens of realtime sockets; the sockets are `realtime_socket`'s |
| `/files/…` | the models' media and what was uploaded, public |
| `/_emulator/stats`, `/_emulator/reset` | counts; back to the start |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from urllib.parse import parse_qs
from weakref import WeakSet

from attrs import asdict, evolve

from falq.emulator import cors, wire
from falq.emulator.addresses import Address, read_address
from falq.emulator.direct import PREFIX as RUN_PREFIX
from falq.emulator.direct import DirectRuns
from falq.emulator.endings import encode
from falq.emulator.faults import FaultPlan, Scene, strike
from falq.emulator.files import PREFIX as FILES_PREFIX
from falq.emulator.files import MediaShelf
from falq.emulator.jobs import Job
from falq.emulator.maton import APP, MatonGateway, is_control_path, is_page_path
from falq.emulator.maton import PREFIX as MATON_PREFIX
from falq.emulator.messages import Feed, Reply, Request
from falq.emulator.models.base import Model
from falq.emulator.orders import BadTimeoutError, read_order
from falq.emulator.platform import PREFIX as PLATFORM_PREFIX
from falq.emulator.platform import PlatformApi
from falq.emulator.ranges import serve_range
from falq.emulator.realtime import RealtimeDesk, SocketOrder
from falq.emulator.scenario import FAL_QUEUE_URL, Fault, Scenario
from falq.emulator.state import DEFAULT_WALL_OFFSET_S, Queue, QueueFullError
from falq.emulator.statistics import Statistics
from falq.emulator.storage import Storage
from falq.emulator.streams import EVENT_STREAM, StatusFeed
from falq.emulator.webhooks import KEYS_PATH, Post, WebhookDesk

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
        self._base_url = base_url
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
            on_end=self._note_ended,
        )
        self.webhooks = WebhookDesk(self.scenario, wall_s=self.queue.wall_s)
        self._faults = FaultPlan(self.scenario.faults, self.scenario.seed)
        self._maton = MatonGateway(
            self.scenario, base_url=self._base_url, wall_offset_s=self._wall_offset_s
        )
        self._platform = PlatformApi(self.scenario, self.queue, self.files)
        self._writer = wire.StatusWriter(self.scenario, self.queue)
        self._storage = Storage(
            self.scenario,
            self.files,
            base_url=self._base_url,
            wall_offset_s=self._wall_offset_s,
        )
        self.realtime = RealtimeDesk(self.scenario, self.files, model_of=self._find_model)
        self._direct = DirectRuns(self.scenario, self.queue, self._wake_feeds)
        self._feeds: WeakSet[Feed] = WeakSet()
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
        preflight = cors.answer_preflight(request)
        return preflight or cors.open_to_page(request, self._respond(request, now))

    def _respond(self, request: Request, now: float) -> Reply:
        path = request.path
        if path.startswith(_CONTROL_PREFIX):
            return self._control(request)
        if path == KEYS_PATH:
            return wire.json_reply(200, self.webhooks.key_set())
        rest = self._answer_rest(request, now)
        if rest is not None:
            reply = rest
        elif path.startswith(FILES_PREFIX):
            reply = self._serve_file(request, now)
        elif path.startswith(MATON_PREFIX):
            reply = self._pass_maton(request, path[len(MATON_PREFIX) :], now)
        elif path.startswith(f"{RUN_PREFIX}/"):
            reply = self._run_directly(request, path[len(RUN_PREFIX) :], now)
        elif path.startswith(f"{PLATFORM_PREFIX}/"):
            reply = self._answer_platform(request, path[len(PLATFORM_PREFIX) :], now)
        else:
            refusal = self._check_key(request)
            reply = self._answer(request, path, self._base, now, refusal)
        self._note_reply(request, reply)
        return self._delayed(reply) if self.scenario.latency_s else reply

    def take_webhooks(self, now: float) -> list[Post]:
        """Return the webhooks to post now; `webhooks.record_answer` must hear of each."""
        self.queue.advance(now)
        return self.webhooks.take_due(now)

    def next_webhook(self) -> float | None:
        """Return the instant at which `take_webhooks` may give something; None if never."""
        if not self.webhooks.is_busy:
            return None
        instants = (self.webhooks.next_due(), self.queue.next_event())
        return min((instant for instant in instants if instant is not None), default=None)

    def _note_ended(self, job: Job) -> None:
        self.webhooks.note_ended(job)

    def admit_socket(self, request: Request, now: float) -> SocketOrder | Reply:
        """Take the handshake of a websocket, or return the reply that refuses it.

        Args:
            request: What asks for a socket.
            now: The instant in seconds.
        """
        fault = self._faults.pick("socket")
        order = None if fault is not None and fault.is_before else self.realtime.admit(request, now)
        if fault is None and isinstance(order, SocketOrder):
            return order
        reply = self._under_fault(
            fault,
            lambda: order if isinstance(order, Reply) else Reply(status_code=200),
            _NO_JOB_ID,
            now,
        )
        self._replies[reply.status_code] += 1
        return reply

    def pick_message_fault(self) -> Fault | None:
        """Count a message on a socket and return the fault that strikes it, if any."""
        return self._faults.pick("message")

    def _note_reply(self, request: Request, reply: Reply) -> None:
        self._replies[reply.status_code] += 1
        if request.method != "GET":
            self._wake_feeds()
        if reply.feed is not None:
            self._feeds.add(reply.feed)

    def _wake_feeds(self) -> None:
        """Make open streams look again: the queue may have moved."""
        for feed in self._feeds:
            feed.wake()

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
            uploads=self._storage.files_count,
            uploads_open=self._storage.open_count,
            upload_parts=self._storage.parts_count,
            uploaded_bytes=self._storage.received_bytes,
            keys_at_storage=self._storage.keys_seen,
            tokens=self.realtime.seen.counts["tokens"],
            sockets=self.realtime.seen.counts["sockets"],
            sockets_open=self.realtime.seen.counts["open"],
            socket_messages=self.realtime.seen.counts["messages"],
            socket_results=self.realtime.seen.counts["results"],
            socket_dropped=self.realtime.seen.counts["dropped"],
            deliveries=dict(self.webhooks.counts),
        )

    def _control(self, request: Request) -> Reply:
        if (request.method, request.path) == ("GET", "/_emulator/stats"):
            return wire.json_reply(200, encode(asdict(self.statistics())))
        if (request.method, request.path) == ("POST", "/_emulator/reset"):
            self.reset()
            return wire.json_reply(200, b"{}")
        return wire.json_reply(404, wire.NOT_FOUND["detail"])

    def _answer_rest(self, request: Request, now: float) -> Reply | None:
        """Answer a call about an upload or for a token; None if it is neither."""
        upload_verb = self._storage.verb_of(request)
        if upload_verb is not None:
            return self._answer_storage(request, upload_verb, now)
        return self._answer_token(request, now) if self.realtime.is_token_call(request) else None

    def _answer_storage(self, request: Request, verb: str, now: float) -> Reply:
        refusal = self._check_key(request) if self._storage.needs_key(request) else None
        return self._under_fault(
            self._faults.pick(verb),
            lambda: refusal or self._storage.answer(request, now),
            _NO_JOB_ID,
            now,
        )

    def _answer_token(self, request: Request, now: float) -> Reply:
        refusal = self._check_key(request)
        return self._under_fault(
            self._faults.pick("token"),
            lambda: refusal or self.realtime.answer_token(request, now),
            _NO_JOB_ID,
            now,
        )

    def _serve_file(self, request: Request, now: float) -> Reply:
        def serve() -> Reply:
            refusal = self._storage.refuse_read(request, now)
            if refusal is not None:
                return refusal
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
        wall_s = self.queue.wall_s(now)
        if is_page_path(request.path):
            return self._maton.show_page(request, wall_s)
        refusal = self._maton.refuse(request, now)
        if is_control_path(path):
            fault = self._faults.pick("connections")
            return self._under_fault(
                fault,
                lambda: refusal or self._maton.control(request, path, wall_s),
                _NO_JOB_ID,
                now,
            )
        if not path.startswith(f"{APP}/"):
            return refusal or wire.json_reply(404, b'{"error":"Unknown app"}')
        refusal = refusal or self._maton.refuse_connection(request)
        return self._answer(request, path[len(APP) :], FAL_QUEUE_URL, now, refusal)

    def _answer_platform(self, request: Request, path: str, now: float) -> Reply:
        refusal = self._check_key(request) if self._platform.needs_key(request, path) else None
        reply = self._under_fault(
            self._faults.pick(self._platform.verb_of(path)),
            lambda: refusal or self._platform.answer(request, path, now),
            _NO_JOB_ID,
            now,
        )
        return self._platform.in_own_form(reply)

    def _run_directly(self, request: Request, path: str, now: float) -> Reply:
        refusal = self._check_key(request)
        return self._under_fault(
            self._faults.pick(self._direct.verb_of(path)),
            lambda: refusal or self._direct.answer(request, path, now),
            _NO_JOB_ID,
            now,
        )

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
        is_logged = "logs" in request.query and _wants_logs(request.query)
        if address.verb == "status_stream":
            return self._stream_status(job, base, is_logged=is_logged)
        is_late = fault is not None and fault.kind == "flap"
        return (
            self._tell_old_status(job, base)
            if is_late
            else self._tell_status(job, base, now, is_logged=is_logged)
        )

    def _submit(self, request: Request, address: Address, base: str, now: float) -> Reply:
        if self.scenario.is_locked:
            return wire.json_reply(403, wire.LOCKED)
        if address.app in self.scenario.absent_apps:
            return wire.json_reply(
                404, encode({"detail": f'Application "{address.app}" not found'})
            )
        try:
            job, position = self.queue.submit(read_order(request, address), now)
            self.webhooks.expect(job)
        except BadTimeoutError:
            return wire.json_reply(400, wire.BAD_TIMEOUT, ("x-fal-error-type", "bad_request"))
        except QueueFullError:
            return wire.json_reply(429, wire.QUEUE_FULL)
        body = self._writer.submitted(job, base, position)
        return wire.json_reply(self.scenario.submit_code, body, _id_header(job))

    def _stream_status(self, job: Job, base: str, *, is_logged: bool) -> Reply:
        feed = StatusFeed(
            job,
            queue=self.queue,
            writer=self._writer,
            scenario=self.scenario,
            base=base,
            has_logs=is_logged,
        )
        return Reply(status_code=200, headers=(EVENT_STREAM, _id_header(job)), feed=feed)

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
