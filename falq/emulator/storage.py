"""Storage beside the queue: tokens, uploads in one piece or in parts, signed addresses.

Owns what was uploaded, what is on its way in, and the answers to the calls that
bring it (fal-wire 8). It never reads a clock and shares no code with the client;
`routes` checks the key and carries out the faults. What is finished lies on the
shelf of files, where everybody reads it and the models find it.

| call | credential | what |
|---|---|---|
| `POST /_rest/storage/auth/token` | key | a token for the CDN |
| `POST /_rest/storage/upload/initiate` | key | a signed address for one PUT |
| `POST /_rest/storage/upload/initiate-multipart` | key | the same for many |
| `POST /_cdn/files/upload` | token | a file in one piece |
| `POST /_cdn/files/upload/multipart` | token | the start of one in parts |
| `PUT {file}/multipart/{upload}/{n}` | token | a part |
| `POST {file}/multipart/{upload}/complete` | token | the end |
| `/_signed/{upload}`, `…/{n}`, `…/complete` | signature | the same, as it was initiated |
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from datetime import UTC, datetime
from random import Random
from typing import Any
from urllib.parse import parse_qs, quote

from attrs import define, field

from falq.emulator.endings import encode
from falq.emulator.files import PREFIX as FILES_PREFIX
from falq.emulator.files import MediaShelf
from falq.emulator.messages import Reply, Request
from falq.emulator.scenario import Scenario

REST_PREFIX = "/_rest/storage/"
CDN_PREFIX = "/_cdn/files/"
SIGNED_PREFIX = "/_signed/"

_JSON = (("content-type", "application/json"),)
_PART = re.compile(r"(?P<file>/files/u[^/]+/[^/]+)/multipart/(?P<upload>[^/]+)/(?P<last>[^/]+)")
_DEFAULT_TYPE = "application/octet-stream"
_DEFAULT_NAME = "upload.bin"


@define
class _Upload:
    """A file that is on its way in."""

    path: str
    content_type: str
    deadline: float
    life_s: float | None
    decision: str
    signature: str = ""
    parts: dict[int, tuple[str, bytes | None, int]] = field(factory=dict)


@define
class _Stored:
    """A file that is there."""

    gone_at: float
    decision: str


class Storage:
    """Answers the calls of storage.

    Args:
        scenario: Its behavior.
        files: Where finished files are put.
        base_url: Origin of the emulator.
        wall_offset_s: Unix time of instant 0.

    Attributes:
        files_count: Files that were finished.
        received_bytes: What came in, parts of unfinished files as well.
        parts_count: Parts that came in.
        keys_seen: Calls to storage hosts that carried a fal key; none should.
    """

    def __init__(
        self, scenario: Scenario, files: MediaShelf, *, base_url: str, wall_offset_s: float
    ) -> None:
        self._scenario = scenario
        self._files = files
        self._base = base_url.rstrip("/")
        self._host = (scenario.storage_url or self._base).rstrip("/")
        self._wall_offset_s = wall_offset_s
        self._chance = Random(f"{scenario.seed}/storage")  # noqa: S311  signatures of an emulator
        self._tokens: dict[str, float] = {}
        self._uploads: dict[str, _Upload] = {}
        self._stored: dict[str, _Stored] = {}
        self._begun = 0
        self.files_count = 0
        self.received_bytes = 0
        self.parts_count = 0
        self.keys_seen = 0

    @property
    def open_count(self) -> int:
        """Uploads that were begun and not finished."""
        return len(self._uploads)

    def verb_of(self, request: Request) -> str | None:
        """Return the word that faults and counts know a call by; None if it is none of these."""
        path = request.path
        if not path.startswith(("/_", FILES_PREFIX)):
            return None
        if path.startswith(REST_PREFIX):
            return "upload_token" if path.endswith("/token") else "upload_initiate"
        is_change = request.method in {"PUT", "POST"}
        if path.startswith(SIGNED_PREFIX) or (is_change and _PART.fullmatch(path)):
            if path.endswith("/complete"):
                return "upload_complete"
            return "upload_part" if path.rpartition("/")[2].isdecimal() else "upload"
        if path.startswith(CDN_PREFIX):
            return "upload_initiate" if path.endswith("/multipart") else "upload"
        return None

    def needs_key(self, request: Request) -> bool:
        """Return whether a call is one of fal's API, not of a storage host."""
        return request.path.startswith(REST_PREFIX)

    def answer(self, request: Request, now: float) -> Reply:
        """Answer a call of storage; one of the API has a good key.

        Args:
            request: The request.
            now: The instant in seconds.
        """
        path = request.path
        if self.needs_key(request):
            return self._answer_api(request, path[len(REST_PREFIX) :], now)
        self._look_for_keys(request)
        if path.startswith(SIGNED_PREFIX):
            return self._answer_signed(request, path[len(SIGNED_PREFIX) :], now)
        refusal = self._check_token(request, now)
        if refusal is not None:
            return refusal
        if path.startswith(CDN_PREFIX):
            return self._answer_cdn(request, path[len(CDN_PREFIX) :], now)
        found = _PART.fullmatch(path)
        if found is None:
            return _refuse(404, f"Path {path} not found")
        return self._answer_part(request, found["upload"], found["last"], now, is_signed=False)

    def refuse_read(self, request: Request, now: float) -> Reply | None:
        """Return why an uploaded file is not read, if it is not."""
        self._look_for_keys(request)
        stored = self._stored.get(request.path)
        if stored is None:
            return None
        if now >= stored.gone_at or stored.decision == "hide":
            return _refuse(404, "Not Found")
        return _refuse(403, "Forbidden") if stored.decision == "forbid" else None

    def _look_for_keys(self, request: Request) -> None:
        told = " ".join(str(value) for value in request.headers.values())
        self.keys_seen += any(key in told or key in request.query for key in self._scenario.keys)

    # fal's API.

    def _answer_api(self, request: Request, path: str, now: float) -> Reply:
        makers = {
            "auth/token": self._make_token,
            "upload/initiate": self._initiate,
            "upload/initiate-multipart": self._initiate,
        }
        make = makers.get(path)
        if make is None:
            return _refuse(404, f"Path {path} not found")
        if request.method != "POST":
            return _refuse(405, "Method Not Allowed", ("allow", "POST"))
        return make(request, now)

    def _make_token(self, _: Request, now: float) -> Reply:
        token = f"cdn-{self._chance.getrandbits(128):032x}"
        self._tokens[token] = now + self._scenario.upload_token_life_s
        expires_at = datetime.fromtimestamp(self._wall_offset_s + self._tokens[token], UTC)
        return _json_reply(
            {
                "token": token,
                "token_type": "Bearer",
                "base_url": self._scenario.storage_url or f"{self._base}/_cdn",
                "expires_at": expires_at.isoformat(),
            }
        )

    def _initiate(self, request: Request, now: float) -> Reply:
        try:
            asked = json.loads(request.body)
            name, content_type = str(asked["file_name"]), str(asked["content_type"])
        except (ValueError, KeyError, TypeError):
            return _refuse(422, "file_name and content_type are required")
        upload_id = self._begin(request, name, content_type, now)
        upload = self._uploads[upload_id]
        upload.signature = f"{self._chance.getrandbits(128):032x}"
        return _json_reply(
            {
                "upload_url": f"{self._host}{SIGNED_PREFIX}{upload_id}"
                f"?X-Goog-Signature={upload.signature}",
                "file_url": f"{self._base}{upload.path}",
            }
        )

    # Storage hosts.

    def _check_token(self, request: Request, now: float) -> Reply | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        expires = self._tokens.get(token)
        if scheme.lower() != "bearer" or expires is None:
            return _refuse(401, "Invalid token")
        return _refuse(401, "Token expired") if now >= expires else None

    def _answer_cdn(self, request: Request, path: str, now: float) -> Reply:
        if request.method != "POST" or path not in {"upload", "upload/multipart"}:
            return _refuse(404, f"Path {path} not found")
        name = request.headers.get("x-fal-file-name", _DEFAULT_NAME)
        content_type = request.headers.get("content-type", _DEFAULT_TYPE)
        upload_id = self._begin(request, name, content_type, now)
        url = f"{self._base}{self._uploads[upload_id].path}"
        if path == "upload/multipart":
            return _json_reply({"access_url": url, "uploadId": upload_id})
        self._take(upload_id, 1, request.body)
        self._finish(upload_id, now)
        return _json_reply({"access_url": url})

    def _answer_signed(self, request: Request, path: str, now: float) -> Reply:
        upload_id, _, last = path.partition("/")
        upload = self._uploads.get(upload_id)
        signature = parse_qs(request.query).get("X-Goog-Signature", [""])[-1]
        if upload is None or signature != upload.signature:
            return _xml(403, "SignatureDoesNotMatch")
        if now >= upload.deadline:
            return _xml(400, "ExpiredToken")
        if last:
            return self._answer_part(request, upload_id, last, now, is_signed=True)
        if request.method != "PUT":
            return _xml(405, "MethodNotAllowed")
        if request.headers.get("content-type", "") != upload.content_type:
            # The type is part of what was signed.
            return _xml(403, "SignatureDoesNotMatch")
        self._take(upload_id, 1, request.body)
        self._finish(upload_id, now)
        return Reply(status_code=200)

    def _answer_part(
        self, request: Request, upload_id: str, last: str, now: float, *, is_signed: bool
    ) -> Reply:
        upload = self._uploads.get(upload_id)
        if upload is None:
            return _refuse(404, "Upload not found")
        if last == "complete" and request.method == "POST":
            return self._complete(request, upload_id, now)
        if not last.isdecimal() or not 1 <= int(last) <= 10_000 or request.method != "PUT":
            return _refuse(400, "Part numbers are 1 to 10000")
        tag = self._take(upload_id, int(last), request.body)
        if is_signed:
            return _json_reply({"partNumber": int(last), "etag": tag})
        return Reply(status_code=200, headers=(("etag", tag),))

    def _complete(self, request: Request, upload_id: str, now: float) -> Reply:
        parts = self._uploads[upload_id].parts
        try:
            told = [(one["partNumber"], one["etag"]) for one in json.loads(request.body)["parts"]]
        except (ValueError, KeyError, TypeError):
            return _refuse(400, "parts is a list of partNumber and etag")
        if [number for number, _ in told] != sorted(parts):
            return _refuse(400, "InvalidPartOrder: every part once, in ascending order")
        if any(parts[number][0] != tag for number, tag in told):
            return _refuse(400, "InvalidPart: an etag is not that of its part")
        self._finish(upload_id, now)
        return _json_reply({})

    # What is kept.

    def _begin(self, request: Request, name: str, content_type: str, now: float) -> str:
        self._begun += 1
        wish = _read_lifecycle(request)
        acl = wish.get("initial_acl")
        life_s = wish.get("expiration_duration_seconds")
        upload_id = f"{self._chance.getrandbits(64):016x}"
        self._uploads[upload_id] = _Upload(
            path=f"{FILES_PREFIX}u{self._begun:07x}/{quote(name, safe='') or _DEFAULT_NAME}",
            content_type=content_type,
            deadline=now + self._scenario.signed_life_s,
            life_s=life_s if isinstance(life_s, int) and life_s > 0 else None,
            decision=str(acl.get("default", "allow")) if isinstance(acl, dict) else "allow",
        )
        return upload_id

    def _take(self, upload_id: str, number: int, data: bytes) -> str:
        """Take a part and return its tag, in quotes."""
        upload = self._uploads[upload_id]
        tag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        upload.parts.pop(number, None)
        kept_bytes = sum(size for _, _, size in upload.parts.values()) + len(data)
        kept = data if kept_bytes <= self._scenario.kept_upload_bytes else None
        upload.parts[number] = (tag, kept, len(data))
        self.received_bytes += len(data)
        self.parts_count += 1
        return tag

    def _finish(self, upload_id: str, now: float) -> None:
        upload = self._uploads.pop(upload_id)
        pieces = [upload.parts[number] for number in sorted(upload.parts)]
        whole = [data for _, data, _ in pieces if data is not None]
        if len(whole) == len(pieces):
            self._files.put(upload.path, upload.content_type, b"".join(whole))
        self._stored[upload.path] = _Stored(
            gone_at=math.inf if upload.life_s is None else now + upload.life_s,
            decision=upload.decision,
        )
        self.files_count += 1


def _read_lifecycle(request: Request) -> dict[str, Any]:
    for name in ("x-fal-object-lifecycle", "x-fal-object-lifecycle-preference"):
        try:
            wish = json.loads(request.headers.get(name, "null"))
        except ValueError:
            continue
        if isinstance(wish, dict):
            return wish
    return {}


def _json_reply(body: dict[str, Any]) -> Reply:
    return Reply(status_code=200, headers=_JSON, body=encode(body))


def _refuse(status_code: int, detail: str, *headers: tuple[str, str]) -> Reply:
    return Reply(status_code=status_code, headers=_JSON + headers, body=encode({"detail": detail}))


def _xml(status_code: int, code: str) -> Reply:
    body = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code></Error>"
    return Reply(
        status_code=status_code, headers=(("content-type", "application/xml"),), body=body.encode()
    )
