"""How the emulator behaves: limits, variants of its answers, and the faults in it.

Owns the settings, their defaults and their file format. It never acts on them:
`state` reads the queue's part, `routes` the answers' part, `faults` carries the
faults out. The defaults are what fal.ai was seen to do; every variant is a
contradiction or a rarity on record that a client must survive.
"""

from __future__ import annotations

import json
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from attrs import field, fields, frozen, validators
from cattrs import Converter, transform_error
from cattrs.errors import BaseValidationError, ForbiddenExtraKeysError
from cattrs.v import format_exception

from falq.errors import ConfigError

DEFAULT_KEY = "11111111-2222-4333-8444-555555555555:0123456789abcdef0123456789abcdef"
DEFAULT_MATON_KEY = "maton-emulator-0123456789abcdef"
FAL_QUEUE_URL = "https://queue.fal.run"

FaultKind = Literal[
    "reset",
    "fin",
    "cut",
    "stall",
    "drip",
    "delay",
    "rate_limited",
    "nginx",
    "json_error",
    "truncated_json",
    "html",
    "list_body",
    "id_only",
    "empty_body",
    "replace_body",
    "not_found",
    "flap",
    "redirect",
    "giant",
    "bomb",
]
Verb = Literal[
    "submit",
    "status",
    "result",
    "cancel",
    "file",
    "connections",
    "history",
    "prices",
    "catalogue",
    "usage",
    "payloads",
    "token",
    "socket",
    "message",
    "status_stream",
    "run",
    "stream",
    "upload_token",
    "upload_initiate",
    "upload",
    "upload_part",
    "upload_complete",
    "any",
]
Advertised = Literal["own", "fal", "foreign", "http", "userinfo", "port"]

# Kinds whose natural place is in front of the work: the request changes nothing.
_BEFORE = frozenset({"reset", "fin", "rate_limited", "nginx", "json_error", "redirect"})
_STATUS_CODES = {"rate_limited": 429, "nginx": 502, "json_error": 500, "redirect": 302}

# Typed as Any: one validator serves whole numbers and fractions.
_at_least_0: Any = validators.ge(0)
_optional_at_least_0: Any = validators.optional(_at_least_0)


def _as_tuple(value: int | tuple[int, ...] | list[int]) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


@frozen
class Fault:
    """One misbehavior and when it happens.

    Without `probability`, `nth` and `every` it happens on each call of its verb.

    Attributes:
        kind: `reset`, `fin`: the connection is reset, or closed without an
            answer · `cut`: the answer ends `missing_bytes` short · `stall`: no
            answer ever comes · `drip`: the body comes `piece_bytes` each `delay_s` ·
            `delay`: the answer comes `delay_s` late · `rate_limited`: 429 ·
            `nginx`: an HTML error page without fal's headers · `json_error`: a
            JSON error with fal's headers · `truncated_json`, `html`,
            `list_body`, `id_only`, `empty_body`, `replace_body`: the good
            status with a body that is not the agreed one · `not_found`: 404
            while the job is younger than `lasting_s` · `flap`: a status one
            step behind the truth · `redirect`: to `location` · `giant`, `bomb`:
            a body of `size_bytes`, plain or gzipped.
        verb: The call it happens on; `any` for each of them.
        when: `before` the request is processed (nothing changes), or `after`
            (a submitted job exists). Default: `before` for `reset`, `fin`,
            `rate_limited`, `nginx`, `json_error` and `redirect`, else `after`.
        probability: Chance per call, 0 to 1, drawn from the scenario's seed.
        nth: Number or numbers of the calls that it happens on, counted from 1
            for each verb.
        every: Happens on every so-manieth call.
        times: Happens at most so often. Default: no limit.
        status_code: Status of the answer. Default: 429, 502, 500 or 302 by kind.
        retry_after_s: Adds `Retry-After` to a 429, 408 or 5xx answer, in seconds.
        retry_after_form: How `Retry-After` is written: seconds, an HTTP date, or
            text that means nothing.
        delay_s: The wait of `delay`, and before each piece of `drip`, in seconds.
        piece_bytes: Size of one piece of `drip`.
        lasting_s: Age of a job up to which `not_found` hides it, in seconds.
        missing_bytes: How much of the body a `cut` withholds. The announced
            length is never reached, even when the body is shorter.
        location: Target of a `redirect`.
        body: Body of `replace_body`.
        error_type: `error_type` of a `json_error`.
        has_request_id: Whether a changed answer keeps `x-fal-request-id`.
        size_bytes: Size of a `giant` body, or of a `bomb` when unpacked.
    """

    kind: FaultKind
    verb: Verb = "any"
    when: Literal["before", "after"] | None = field(default=None, kw_only=True)
    probability: float | None = field(
        default=None,
        kw_only=True,
        validator=validators.optional(validators.and_(validators.ge(0), validators.le(1))),
    )
    nth: tuple[int, ...] = field(default=(), kw_only=True, converter=_as_tuple)
    every: int | None = field(
        default=None, kw_only=True, validator=validators.optional(validators.ge(1))
    )
    times: int | None = field(default=None, kw_only=True, validator=_optional_at_least_0)
    status_code: int | None = field(default=None, kw_only=True)
    retry_after_s: float | None = field(default=None, kw_only=True)
    retry_after_form: Literal["seconds", "date", "nonsense"] = field(
        default="seconds", kw_only=True
    )
    delay_s: float = field(default=0.05, kw_only=True, validator=_at_least_0)
    piece_bytes: int = field(default=1, kw_only=True, validator=validators.ge(1))
    lasting_s: float = field(default=1.0, kw_only=True, validator=_at_least_0)
    missing_bytes: int = field(default=10, kw_only=True, validator=validators.ge(1))
    location: str = field(default="https://elsewhere.example/", kw_only=True)
    body: str = field(default="null", kw_only=True)
    error_type: str | None = field(default=None, kw_only=True)
    has_request_id: bool = field(default=True, kw_only=True)
    size_bytes: int = field(default=64 * 1024 * 1024, kw_only=True, validator=_at_least_0)

    def __attrs_post_init__(self) -> None:
        _check_words(self)

    @property
    def is_before(self) -> bool:
        """Whether it strikes before the request is processed."""
        return self.kind in _BEFORE if self.when is None else self.when == "before"

    @property
    def answer_code(self) -> int:
        """The status of the answer it makes."""
        return self.status_code or _STATUS_CODES.get(self.kind, 200)


@frozen(kw_only=True)
class Scenario:
    """Everything that can be set about the emulator.

    Attributes:
        seed: Start of every random draw: ids, run times, faults.
        runners: Jobs in progress at once for the account. 0 runs none.
        speed: Divides every run time; `inf` ends a job as soon as it starts.
        run_s: Run time of every job before `speed`, in seconds. Default: the model's.
        latency_s: Wait before every answer of the API, in seconds.
        keys: fal keys that are accepted.
        is_key_needed: Whether fal's side asks for a key at all.
        is_locked: Submits answer 403 "User is locked", as with no money left.
        absent_apps: `owner/alias` ids that answer 404 at submit.
        maton_keys: Maton keys that are accepted.
        maton_connection: Status of the one fal-ai connection; `NONE` for no connection.
        maton_rate_per_s: Requests per second above which Maton answers 429.
            Default: no limit; the real one is said to allow 10.
        advertised: Where the URLs in bodies point: the emulator itself,
            `https://queue.fal.run`, another host, plain http, a URL with
            userinfo, or an odd port. Through Maton always `https://queue.fal.run`.
        foreign_url: Base of the URLs for `advertised="foreign"`.
        has_response_suffix: `response_url` ends in `/response` and repeats the
            whole endpoint id; a GET on it answers 405.
        has_gateway_request_id: Submit answers carry `gateway_request_id`.
        submit_code: Status of a good submit.
        submit_body: `full`, or `no_status`: without `status` and `queue_position`.
        is_status_always_200: Status answers 200 in every state, not 202.
        logs_form: Entries with level and source (`A`), with labels (`B`), or the
            key left out (`absent`).
        has_duplicate_logs: Every log entry comes twice.
        log_window: Only so many newest entries are shown.
        shown_fields: `full`, or `short`: status answers without URLs, logs and
            empty metrics, as in the shortened samples of some documents.
        skips_in_progress: A running job still says IN_QUEUE.
        unknown_state: A word shown in place of IN_PROGRESS.
        failed_word: A word shown in place of COMPLETED for a job that did not succeed.
        has_error_on_422: A model's own error is named on the status as well.
        server_retry_probability: Chance that a run breaks and goes back to the
            queue, as the server's own retries do.
        max_attempts: Runs of one job before the server gives up.
        early_result: Status of the result call on an unfinished job.
        sub_path: A sub-path in a status, result or cancel URL answers 405, or works.
        trailing_slash: Accepted, or answered with 307.
        unknown_id: Body of 404: `{"status": …}` or `{"detail": …}`.
        cancel_queued: A queued job's cancel answers 202 CANCELLATION_REQUESTED
            or 200 OK.
        after_cancel: A job cancelled in the queue is COMPLETED with 499, or gone (404).
        cancel_running: The model ends with 499, or ignores the wish.
        timeout_type: `x-fal-request-timeout-type` of a missed start deadline.
        max_queue_length: Length from which a submit answers 429. Default: no
            limit but the caller's own.
        stores_io: Payload storage is on unless a request turns it off.
        result_life_s: Life of a result after completion, in seconds. Default:
            30 days with storage, 1 hour without, 6 minutes from 10,000 bytes.
        history_delay_s: How long after its end, or after its sending while it has
            not ended, a request appears in the Platform API's history, in seconds.
        history_lists_queued: The history lists requests that have not ended.
        history_stores_payloads: The history has the inputs and outputs of
            requests that had storage on.
        unpriced: An endpoint without a price is left out of the answer, or makes
            the whole call 404.
        has_file_ranges: Files answer `Range` with 206; else always with the whole.
        has_changing_files: Each answer about a file has another `ETag`.
        storage_url: Base of the addresses that uploads are sent to, if it is not
            the emulator's own.
        upload_token_life_s: Life of a token for uploads, in seconds.
        signed_life_s: Life of a signed upload address, in seconds.
        kept_upload_bytes: Largest uploaded file that can be read again; of a
            larger one the parts are counted and dropped.
        webhook_targets: Webhooks go to addresses of this machine only, or anywhere.
        webhook_delay_s: Wait from a job's end to its webhook, in seconds.
        webhook_jitter_s: Further wait of up to so many seconds, drawn for each: later
            ends are told before earlier ones.
        webhook_copies: Every delivery is made so often.
        webhook_loss_probability: Chance that a job's webhook never comes.
        webhook_payload: Whole, or `null` with a `payload_error`.
        webhook_forgery: What is wrong with deliveries: the key, the body after it
            was signed, the time, the form of the signature, or all headers missing.
        webhook_forged_attempts: So many first attempts of each delivery are wrong;
            none named makes it all of them.
        jwt_address: Where tokens of sockets are asked for: `/tokens/`
            (`classic`), `/tokens/realtime` (`realtime`), or `both`.
        jwt_form: A bare JSON string (`text`), or an object that holds it.
        bad_jwt: A wrong or ended token is told of by the first frame, or the
            handshake answers 401.
        checks_jwt_always: A token that ends ends its socket, at the next message.
        realtime_idle_s: Silence after which a realtime socket is closed with
            TIMEOUT, in seconds.
        stream_ping_s: Silence after which a status stream brings a comment, in seconds.
        stream_newline: How lines of streams end.
        stream_piece_bytes: Streams come in pieces of so many bytes, which cuts
            characters in two. Default: an event at a time.
        has_multi_line_data: Each event of a stream has several data lines.
        stream_end: A status stream ends after COMPLETED, at the end without it, after
            its first event, without any, or with a broken connection.
        concurrency_code: Status of a direct run when every runner is taken.
        dropped_run: A direct run whose caller went away is cancelled, or runs on.
        stream_parts: Partial outputs that an output stream brings before the whole.
        stream_error: A run that fails in an output stream tells so in an event, cuts
            the connection, or had answered with an error in place of the stream.
        faults: What goes wrong, in order of precedence.
    """

    seed: int = 0
    runners: int = field(default=10, validator=_at_least_0)
    speed: float = field(default=1.0, validator=validators.gt(0))
    run_s: float | None = field(default=None, validator=_optional_at_least_0)
    latency_s: float = field(default=0.0, validator=_at_least_0)
    keys: tuple[str, ...] = field(default=(DEFAULT_KEY,), converter=tuple, repr=False)
    is_key_needed: bool = True
    is_locked: bool = False
    absent_apps: tuple[str, ...] = field(default=(), converter=tuple)
    maton_keys: tuple[str, ...] = field(default=(DEFAULT_MATON_KEY,), converter=tuple, repr=False)
    maton_connection: Literal["ACTIVE", "PENDING", "FAILED", "NONE"] = "ACTIVE"
    maton_rate_per_s: float | None = field(
        default=None, validator=validators.optional(validators.gt(0))
    )
    advertised: Advertised = "own"
    foreign_url: str = "https://queue.fal.run.elsewhere.example"
    has_response_suffix: bool = False
    has_gateway_request_id: bool = False
    submit_code: int = 200
    submit_body: Literal["full", "no_status"] = "full"
    is_status_always_200: bool = False
    logs_form: Literal["A", "B", "absent"] = "B"
    has_duplicate_logs: bool = False
    log_window: int = field(default=100, validator=validators.ge(1))
    shown_fields: Literal["full", "short"] = "full"
    skips_in_progress: bool = False
    unknown_state: str | None = None
    failed_word: Literal["FAILED", "ERROR", "CANCELLED"] | None = None
    has_error_on_422: bool = False
    server_retry_probability: float = field(
        default=0.0, validator=validators.and_(validators.ge(0), validators.le(1))
    )
    max_attempts: int = field(default=10, validator=validators.ge(1))
    early_result: Literal[400, 202, 404] = 400
    sub_path: Literal["405", "lenient"] = "405"
    trailing_slash: Literal["accept", "redirect"] = "accept"
    unknown_id: Literal["status", "detail"] = "status"
    cancel_queued: Literal["requested", "ok"] = "requested"
    after_cancel: Literal["completed", "gone"] = "completed"
    cancel_running: Literal["handled", "ignored"] = "handled"
    timeout_type: Literal["user", "infrastructure"] = "user"
    max_queue_length: int | None = field(default=None, validator=_optional_at_least_0)
    stores_io: bool = True
    result_life_s: float | None = field(default=None, validator=_optional_at_least_0)
    history_delay_s: float = field(default=0.0, validator=_at_least_0)
    history_lists_queued: bool = False
    history_stores_payloads: bool = True
    unpriced: Literal["absent", "not_found"] = "absent"
    has_file_ranges: bool = True
    has_changing_files: bool = False
    storage_url: str | None = None
    upload_token_life_s: float = field(default=3600.0, validator=_at_least_0)
    signed_life_s: float = field(default=900.0, validator=_at_least_0)
    kept_upload_bytes: int = field(default=256 * 1024 * 1024, validator=_at_least_0)
    webhook_targets: Literal["loopback", "any"] = "loopback"
    webhook_delay_s: float = field(default=0.0, validator=_at_least_0)
    webhook_jitter_s: float = field(default=0.0, validator=_at_least_0)
    webhook_copies: int = field(default=1, validator=validators.ge(1))
    webhook_loss_probability: float = field(
        default=0.0, validator=validators.and_(validators.ge(0), validators.le(1))
    )
    webhook_payload: Literal["full", "null"] = "full"
    webhook_forgery: (
        Literal[
            "wrong_key", "other_body", "old_timestamp", "future_timestamp", "bad_hex", "unsigned"
        ]
        | None
    ) = None
    webhook_forged_attempts: int | None = field(default=1, validator=_optional_at_least_0)
    jwt_address: Literal["both", "classic", "realtime"] = "both"
    jwt_form: Literal["text", "token", "detail"] = "text"
    bad_jwt: Literal["frame", "handshake"] = "frame"
    checks_jwt_always: bool = False
    realtime_idle_s: float = field(default=60.0, validator=validators.gt(0))
    stream_ping_s: float = field(default=15.0, validator=validators.gt(0))
    stream_newline: Literal["lf", "crlf", "cr"] = "lf"
    stream_piece_bytes: int | None = field(
        default=None, validator=validators.optional(validators.ge(1))
    )
    has_multi_line_data: bool = False
    stream_end: Literal["completed", "missing", "early", "empty", "cut"] = "completed"
    concurrency_code: Literal[429, 200] = 429
    dropped_run: Literal["cancelled", "runs_on"] = "cancelled"
    stream_parts: int = field(default=3, validator=_at_least_0)
    stream_error: Literal["event", "cut", "head"] = "event"
    faults: tuple[Fault, ...] = field(default=(), converter=tuple)

    def __attrs_post_init__(self) -> None:
        _check_words(self)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a scenario from a TOML or JSON file.

        Args:
            path: A file whose name ends in `.toml` or `.json`. Its keys are the
                attributes of this class; `faults` is a list of tables with the
                attributes of `Fault`.

        Raises:
            ConfigError: The file cannot be read, or a key or value in it is
                wrong. The message names the key and what is allowed.
        """
        data = _read_file(Path(path))
        if not isinstance(data, dict):
            raise ConfigError(
                f"scenario file {path}: expected a table of settings", setting="scenario"
            )
        try:
            return _build_converter().structure(data, cls)
        except BaseValidationError as error:
            problems = "; ".join(transform_error(error, "scenario", _explain))
            raise ConfigError(f"scenario file {path}: {problems}", setting="scenario") from error


def _read_file(path: Path) -> object:
    is_toml = path.suffix.lower() == ".toml"
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text) if is_toml else json.loads(text)
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except ValueError as error:
        reason = f"it is no {'TOML' if is_toml else 'JSON'}: {error}"
    raise ConfigError(f"scenario file {path}: {reason}", setting="scenario")


def _build_converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    # The stock hooks call `int(value)` and `bool(value)`: "no" would become True.
    for exact in (bool, int, str):
        converter.register_structure_hook(exact, _read_exact)
    converter.register_structure_hook(float, _read_number)
    converter.register_structure_hook_func(lambda kind: kind == tuple[int, ...], _read_integers)
    return converter


def _read_exact(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {value!r}")
    return value


def _read_number(value: Any, _: type) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a number, got {value!r}")
    return float(value)


def _read_integers(value: Any, _: Any) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(_read_exact(one, int) for one in values)


def _explain(error: BaseException, kind: type | None) -> str:
    if isinstance(error, ForbiddenExtraKeysError):
        allowed = [one.name for one in fields(error.cl)]
        near = {name: get_close_matches(name, allowed, n=1) for name in sorted(error.extra_fields)}
        told = ", ".join(
            f"{name} (did you mean {matches[0]}?)" if matches else name
            for name, matches in near.items()
        )
        where = f"falq.emulator.{error.cl.__name__}"
        return f"unknown key {told}; allowed are the attributes of {where}"
    return (
        str(error) if isinstance(error, TypeError | ValueError) else format_exception(error, kind)
    )


def _check_words(value: Any) -> None:
    """Refuse a word that its attribute's `Literal` does not list."""
    for name, hint in get_type_hints(type(value)).items():
        for literal in (hint, *get_args(hint)):
            words = get_args(literal) if get_origin(literal) is Literal else ()
            given = getattr(value, name)
            if words and given is not None and given not in words:
                raise ValueError(f"{name} must be one of {list(words)}, got {given!r}")
