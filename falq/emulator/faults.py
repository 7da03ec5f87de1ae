"""Which fault strikes a call, and what it makes of the reply.

Owns the counting and drawing that a scenario's faults need, and the form of
each fault. It never touches a job: `routes` asks before and after it has done
the work, and the server carries out the transmission.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from email.utils import formatdate
from http import HTTPStatus
from random import Random

from attrs import define, evolve, frozen

from falq.emulator.endings import encode
from falq.emulator.messages import Reply, Transmission
from falq.emulator.scenario import Fault, FaultKind

_JSON = ("content-type", "application/json")
_HTML = ("content-type", "text/html")
# Faults that are about one job: without one there is nothing to misstate.
_NEEDS_JOB = frozenset({"not_found", "flap"})
_GZIP = 16 + zlib.MAX_WBITS
_CHUNK_BYTES = 1 << 20


@define
class _Armed:
    fault: Fault
    chance: Random
    struck: int = 0


class FaultPlan:
    """Decides, call by call, whether a fault strikes.

    Args:
        faults: In order of precedence; the first that applies strikes alone.
        seed: Start of the draws; each fault draws from its own generator.
    """

    def __init__(self, faults: Sequence[Fault], seed: int) -> None:
        self._armed = [
            _Armed(fault, Random(f"{seed}/fault/{number}"))  # noqa: S311  chance for tests
            for number, fault in enumerate(faults)
        ]
        self.calls: Counter[str] = Counter()
        self.struck: Counter[str] = Counter()

    def pick(self, verb: str, *, age_s: float | None = None) -> Fault | None:
        """Count one call and return the fault that strikes it, if any.

        Args:
            verb: What the call is.
            age_s: Age of the job it is about, in seconds; None without a job.
        """
        self.calls[verb] += 1
        for armed in self._armed:
            if self._strikes(armed, verb, age_s):
                armed.struck += 1
                self.struck[armed.fault.kind] += 1
                return armed.fault
        return None

    def _strikes(self, armed: _Armed, verb: str, age_s: float | None) -> bool:
        fault = armed.fault
        if fault.verb not in {verb, "any"}:
            return False
        # Drawn before the other conditions, so that they do not shift the draws.
        is_drawn = fault.probability is None or armed.chance.random() < fault.probability
        number = self.calls[verb] if fault.verb == verb else self.calls.total()
        is_due = (not fault.nth or number in fault.nth) and number % (fault.every or 1) == 0
        is_left = fault.times is None or armed.struck < fault.times
        return is_drawn and is_due and is_left and _concerns(fault, age_s)


@frozen(kw_only=True)
class Scene:
    """What a fault needs to know of the call it strikes.

    Attributes:
        request_id: Id of the job, or a made-up one where there is none.
        wall_s: Unix time of the call, in seconds.
        reply: The true reply; None when the request was not processed.
    """

    request_id: str
    wall_s: float
    reply: Reply | None = None

    @property
    def code(self) -> int:
        """Status of the true reply, 200 without one."""
        return 200 if self.reply is None else self.reply.status_code

    @property
    def body(self) -> bytes:
        """Body of the true reply, an empty object without one."""
        return b"{}" if self.reply is None else self.reply.body


def strike(fault: Fault, scene: Scene) -> Reply:
    """Return what the caller gets instead of the true reply."""
    return _FORMS[fault.kind](fault, scene)


def _concerns(fault: Fault, age_s: float | None) -> bool:
    if fault.kind not in _NEEDS_JOB:
        return True
    if age_s is None:
        return False
    return fault.kind != "not_found" or age_s <= fault.lasting_s


def _silent(fault: Fault, _: Scene) -> Reply:
    manners = {"reset": Transmission(manner="reset"), "fin": Transmission(manner="fin")}
    return Reply(status_code=0, transmission=manners.get(fault.kind, Transmission(manner="stall")))


def _cut(fault: Fault, scene: Scene) -> Reply:
    reply = _true_reply(scene)
    cut_at_bytes = max(len(reply.body) - fault.missing_bytes, 0)
    return evolve(reply, transmission=Transmission(manner="cut", cut_at_bytes=cut_at_bytes))


def _slow(fault: Fault, scene: Scene) -> Reply:
    if fault.kind == "delay":
        transmission = Transmission(delay_s=fault.delay_s)
    else:
        transmission = Transmission(
            manner="drip", pause_s=fault.delay_s, piece_bytes=fault.piece_bytes
        )
    return evolve(_true_reply(scene), transmission=transmission)


def _unchanged(_: Fault, scene: Scene) -> Reply:
    return _true_reply(scene)


def _nginx(fault: Fault, scene: Scene) -> Reply:
    code = fault.answer_code
    title = f"{code} {_phrase(code)}"
    page = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
    headers = (_HTML, *_retry_after(fault, scene))
    return Reply(status_code=code, headers=headers, body=page.encode())


def _json_error(fault: Fault, scene: Scene) -> Reply:
    code = fault.answer_code
    body = {"detail": _phrase(code)}
    headers = [_JSON, *_id_header(fault, scene), *_retry_after(fault, scene)]
    if fault.error_type is not None:
        body["error_type"] = fault.error_type
        headers.append(("x-fal-error-type", fault.error_type))
    return Reply(status_code=code, headers=tuple(headers), body=encode(body))


def _not_found(fault: Fault, scene: Scene) -> Reply:
    headers = (_JSON, *_id_header(fault, scene))
    return Reply(status_code=404, headers=headers, body=b'{"status":"NOT_FOUND"}')


def _redirect(fault: Fault, _: Scene) -> Reply:
    return Reply(status_code=fault.answer_code, headers=(("location", fault.location),))


def _other_body(fault: Fault, scene: Scene) -> Reply:
    makers: dict[str, Callable[[], bytes]] = {
        "truncated_json": lambda: scene.body[: len(scene.body) // 2],
        "html": lambda: b"<!doctype html><title>Welcome</title><p>Nothing to see here.</p>",
        "list_body": lambda: b"[" + scene.body + b"]",
        "id_only": lambda: encode({"request_id": scene.request_id}),
        "empty_body": lambda: b"",
        "replace_body": lambda: fault.body.encode(),
    }
    return Reply(
        status_code=fault.status_code or scene.code,
        headers=(_HTML if fault.kind == "html" else _JSON, *_id_header(fault, scene)),
        body=makers[fault.kind](),
    )


def _giant(fault: Fault, scene: Scene) -> Reply:
    body = scene.body if scene.body[-1:] == b"}" and len(scene.body) > 2 else b'{"detail":null}'
    head, tail = body[:-1] + b',"padding":"', b'"}'
    headers = (_JSON, *_id_header(fault, scene))
    if fault.kind == "giant":
        whole = head + b"x" * fault.size_bytes + tail
        return Reply(status_code=scene.code, headers=headers, body=whole)
    packer = zlib.compressobj(9, wbits=_GZIP)
    pieces = [packer.compress(head)]
    chunk = b"x" * _CHUNK_BYTES
    pieces += [packer.compress(chunk) for _ in range(fault.size_bytes // _CHUNK_BYTES)]
    pieces += [packer.compress(chunk[: fault.size_bytes % _CHUNK_BYTES])]
    pieces += [packer.compress(tail), packer.flush()]
    return Reply(
        status_code=scene.code,
        headers=(*headers, ("content-encoding", "gzip")),
        body=b"".join(pieces),
    )


_FORMS: dict[FaultKind, Callable[[Fault, Scene], Reply]] = {
    "reset": _silent,
    "fin": _silent,
    "stall": _silent,
    "cut": _cut,
    "drip": _slow,
    "delay": _slow,
    "flap": _unchanged,
    "rate_limited": _json_error,
    "json_error": _json_error,
    "nginx": _nginx,
    "not_found": _not_found,
    "redirect": _redirect,
    "truncated_json": _other_body,
    "html": _other_body,
    "list_body": _other_body,
    "id_only": _other_body,
    "empty_body": _other_body,
    "replace_body": _other_body,
    "giant": _giant,
    "bomb": _giant,
}


def _true_reply(scene: Scene) -> Reply:
    return scene.reply or Reply(status_code=200, headers=(_JSON,), body=scene.body)


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return "Unknown"


def _id_header(fault: Fault, scene: Scene) -> tuple[tuple[str, str], ...]:
    return (("x-fal-request-id", scene.request_id),) if fault.has_request_id else ()


def _retry_after(fault: Fault, scene: Scene) -> tuple[tuple[str, str], ...]:
    wait_s = fault.retry_after_s
    if wait_s is None:
        return ()
    forms = {
        "seconds": f"{wait_s:.10g}",
        "date": formatdate(scene.wall_s + wait_s, usegmt=True),
        "nonsense": "a little while",
    }
    return (("retry-after", forms[fault.retry_after_form]),)
