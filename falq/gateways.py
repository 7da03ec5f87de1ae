"""The ways to fal: directly, or through the Maton gateway.

Owns the origins, how a queue path maps onto them, how the key is put on, and
what each way can do. A gateway is a small frozen value; it never reads the
environment (`config` does) and never sends anything (`_transport` does). The only
file that it reads is one that a key was given as.

Rules: a key goes to the gateway's own origins only; `http://` is for loopback
addresses only; a key is shown nowhere.
"""

from __future__ import annotations

import ipaddress
import logging
from pathlib import Path
from urllib.parse import urlsplit

from attrs import Attribute, converters, field, frozen

from falq.errors import ConfigError, UnsupportedError
from falq.secrets import HeaderSecret as HeaderSecret
from falq.secrets import Secret as Secret
from falq.secrets import Withheld, hold, holds, show_made
from falq.text import printable

logger = logging.getLogger("falq")

QUEUE = "queue"
RUN = "run"
STREAM = "stream"
REALTIME = "realtime"
UPLOAD = "upload"
PLATFORM = "platform"

_LONGEST_KEY_FILE_BYTES = 4096
_FAL_QUEUE_URL = "https://queue.fal.run"
# The second is fal's backup domain (fal_client 1.0.3).
FAL_QUEUE_URLS = frozenset({_FAL_QUEUE_URL, "https://queue.falrun.com"})
_FAL_URLS = {
    "run_url": "https://fal.run",
    "rest_url": "https://rest.fal.ai",
    "cdn_url": "https://v3.fal.media",
    "api_url": "https://api.fal.ai/v1",
}
_ADDRESSES_OF = {
    RUN: ["run_url"],
    STREAM: ["run_url"],
    REALTIME: ["run_url", "rest_url"],
    UPLOAD: ["rest_url", "cdn_url"],
    PLATFORM: ["api_url"],
}


def _key_in(path: Path) -> Secret:
    """Return what a file holds, without the line end that editors put behind it."""
    shown = printable(str(path), limit=120)
    try:
        with path.open("rb") as stream:
            held = Secret(stream.read(_LONGEST_KEY_FILE_BYTES).decode("ascii").rstrip())
    except UnicodeDecodeError:
        raise ConfigError(f"the file {shown} holds no key", setting="key") from None
    except OSError as error:
        raise ConfigError(
            f"the key cannot be read from {shown}: {error.strerror}", setting="key"
        ) from None
    if not held:
        raise ConfigError(f"the file {shown} is empty; it should hold a key", setting="key")
    return held


def _held(given: str | Path | Secret) -> Secret:
    """Return what was given as a key: no frame that refuses it then has it among its locals."""
    given = hold(given)
    if isinstance(given, Secret):
        return given
    if isinstance(given, Path):
        return _key_in(given)
    kind = given.kind if isinstance(given, Withheld) else type(given).__name__
    raise ConfigError(f"key must be text, got {kind}", setting="key")


def _secret_key(given: str | Path | Secret) -> Secret:
    given = _held(given)
    key = Secret(given.reveal().strip())
    if key != given:
        logger.warning("the key had spaces or line ends around it; they were dropped")
    if not key:
        raise ConfigError("key is empty; set it or unset it", setting="key")
    if not _is_plain(key):
        raise ConfigError(
            "key holds a space, a control character or a letter outside ASCII; copy it again",
            setting="key",
        )
    return key


def _is_plain(key: Secret) -> bool:
    text = key.reveal()
    return text.isascii() and text.isprintable() and " " not in text


def _fal_key(given: str | Path | Secret) -> Secret:
    given = _held(given)
    key = _secret_key(given)
    if key.reveal().count(":") != 1:
        raise ConfigError(
            "a fal key has the form '<key id>:<key secret>' with one colon; copy both parts",
            setting="key",
        )
    return key


_NEVER_IN_AN_ORIGIN = frozenset("@?#\\ ")


def check_origin(url: str, *, setting: str) -> str:
    """Return `url` without trailing slashes if a key may be sent below it.

    Args:
        url: `https://host[:port][/path]`, or `http://` for a loopback address.
        setting: Name of the setting it came from, for the message.

    Raises:
        ConfigError: It is anything else, or carries a user name, query or fragment.
    """
    shown = printable(repr(url), limit=120)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        # Fails, as every later use would, on a label that is empty or too long.
        (host or "").encode("idna")
    except (ValueError, AttributeError):
        parts, host, port = None, None, None
    if parts is None or not host or port == 0 or parts.scheme not in {"https", "http"}:
        raise ConfigError(
            f"{setting}: {shown} is not an address; give one such as 'https://queue.fal.run'",
            setting=setting,
        )
    if not url.isascii() or not url.isprintable() or not _NEVER_IN_AN_ORIGIN.isdisjoint(url):
        raise ConfigError(
            f"{setting} holds a user name, a query, a fragment, a space or a letter outside "
            "ASCII; give scheme, host and path only",
            setting=setting,
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigError(
            f"{setting}: {shown} would send the key unencrypted; use https:// "
            "(http:// is for loopback addresses only)",
            setting=setting,
        )
    return url.rstrip("/")


def _without_slash(url: str) -> str:
    return url.rstrip("/") if isinstance(url, str) else url


def _is_origin(_: Gateway, attribute: Attribute[str], url: str) -> None:
    check_origin(url, setting=attribute.name)


def is_loopback(host: str) -> bool:
    """Return whether `host` names this machine and no other."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@frozen(kw_only=True, repr=False)
class Gateway:
    """What every gateway has. Make a `Fal` or a `Maton`, not this."""

    def __repr__(self) -> str:
        return show_made(self)

    @property
    def name(self) -> str:
        """Its name, as in `FALQ_GATEWAY`."""
        raise NotImplementedError

    @property
    def queue_root(self) -> str:
        """Address below which the queue's paths lie."""
        raise NotImplementedError

    @property
    def abilities(self) -> frozenset[str]:
        """What it can do beside and with the queue."""
        raise NotImplementedError

    @property
    def calls_per_s(self) -> float | None:
        """Calls a second that the account is allowed, polls included, if known."""
        return None

    def auth_headers(self) -> dict[str, str]:
        """Return the headers that carry the key, masked in every repr.

        Raises:
            ConfigError: It has no key.
        """
        raise NotImplementedError

    def advise(self, status_code: int, /, *, is_own: bool | None) -> str | None:
        """Return what to do about an answer that says no, or None for the usual advice.

        Args:
            status_code: HTTP status of the answer.
            is_own: Whether the gateway itself speaks; False for fal behind it,
                None if the answer does not tell.
        """
        del status_code, is_own
        return None

    def require(self, ability: str) -> None:
        """Return if the gateway can do `ability`.

        Raises:
            UnsupportedError: It cannot. Nothing was sent.
        """
        if ability not in self.abilities:
            raise UnsupportedError(
                f"this {self.name} gateway cannot do {ability}; {self._way_to(ability)}",
                setting="gateway",
            )

    def _way_to(self, _ability: str) -> str:
        return "it reaches fal's queue only; use falq.Fal with a FAL_KEY for that"

    def _bearer(self, scheme: str, key: Secret | None, setting: str) -> HeaderSecret:
        if key is None:
            raise ConfigError(
                f"the {self.name} gateway has no key; set {setting} or pass key=...",
                setting=setting,
            )
        return HeaderSecret(f"{scheme} {key.reveal()}")


@holds("key")
@frozen(kw_only=True, repr=False)
class Fal(Gateway):
    """fal itself, with `Authorization: Key <id>:<secret>`.

    Attributes:
        key: `<key id>:<key secret>`, or the `Path` of a file that holds it, such as
            a mounted secret, which is read at once and only once; None is filled from
            `FAL_KEY`, or from `FAL_KEY_ID` and `FAL_KEY_SECRET`, when a session is made.
        queue_url: Origin of the queue.
        run_url: Origin of direct runs and streams.
        rest_url: Origin of tokens and storage.
        cdn_url: Origin of uploads to the CDN.
        api_url: Origin of the Platform API.
    """

    key: Secret | None = field(default=None, converter=converters.optional(_fal_key), repr=False)
    queue_url: str = field(default=_FAL_QUEUE_URL, converter=_without_slash, validator=_is_origin)
    run_url: str = field(
        default=_FAL_URLS["run_url"], converter=_without_slash, validator=_is_origin
    )
    rest_url: str = field(
        default=_FAL_URLS["rest_url"], converter=_without_slash, validator=_is_origin
    )
    cdn_url: str = field(
        default=_FAL_URLS["cdn_url"], converter=_without_slash, validator=_is_origin
    )
    api_url: str = field(
        default=_FAL_URLS["api_url"], converter=_without_slash, validator=_is_origin
    )

    @property
    def name(self) -> str:
        """`fal`."""
        return "fal"

    @property
    def queue_root(self) -> str:
        """The queue's origin: paths are the native ones."""
        return self.queue_url

    @property
    def abilities(self) -> frozenset[str]:
        """Everything; but what has fal's own address only beside fal's own queue.

        Whose queue is elsewhere has a key for elsewhere, which does not go to fal;
        with all addresses of its own it can do everything again.
        """
        if self.queue_url in FAL_QUEUE_URLS:
            return frozenset({QUEUE, *_ADDRESSES_OF})
        return frozenset({QUEUE, *(one for one in _ADDRESSES_OF if not self._at_fal(one))})

    def _at_fal(self, ability: str) -> list[str]:
        return [name for name in _ADDRESSES_OF[ability] if getattr(self, name) == _FAL_URLS[name]]

    def _way_to(self, ability: str) -> str:
        names = " and ".join(self._at_fal(ability)) if ability in _ADDRESSES_OF else "address"
        hint = " (FALQ_API_URL)" if ability == PLATFORM else ""
        return f"its queue is not fal's; name its {names}{hint} as well"

    def auth_headers(self) -> dict[str, str]:
        """Return `Authorization: Key …`, masked in every repr.

        Raises:
            ConfigError: It has no key.
        """
        return {"Authorization": self._bearer("Key", self.key, "FAL_KEY")}


_REFUSED_KEY = "Maton refuses the key; copy MATON_API_KEY again from maton.ai/settings"
_MATON_ADVICE = {
    400: "the account may have no ACTIVE fal-ai connection ('falq connections list' shows them, "
    "'falq connections create' makes one); if it has one, check that the endpoint is written "
    "with its owner, such as fal-ai/flux/schnell, and that the model exists",
    401: _REFUSED_KEY,
    403: _REFUSED_KEY,
    404: "write the endpoint with its owner, such as fal-ai/flux/schnell, and check that the "
    "model exists",
    429: "Maton allows about 10 calls a second for an account, polls included; wait, or lower "
    "calls_per_s",
    500: "try again later; if it stays, the fal key in the connection may have expired "
    "('falq connections list')",
}
_FAL_ADVICE = {
    401: "fal refuses the key that the Maton connection holds; make a new connection with "
    "'falq connections create' and enter a good fal key",
}


@holds("key")
@frozen(kw_only=True, repr=False)
class Maton(Gateway):
    """The Maton gateway, which holds the fal key and reaches the queue only.

    Attributes:
        key: The Maton key, or the `Path` of a file that holds it; None is filled from
            `MATON_API_KEY` when a session is made.
        base_url: Origin of the gateway; `/fal-ai` and the native path follow.
        control_url: Origin of the API for connections.
        connection_id: Which of several connections to use, if not the default.
    """

    key: Secret | None = field(default=None, converter=converters.optional(_secret_key), repr=False)
    base_url: str = field(
        default="https://gateway.maton.ai", converter=_without_slash, validator=_is_origin
    )
    control_url: str = field(
        default="https://ctrl.maton.ai", converter=_without_slash, validator=_is_origin
    )
    connection_id: str | None = None

    def __attrs_post_init__(self) -> None:
        text = self.connection_id
        if text is None:
            return
        is_text = isinstance(text, str) and text.isascii() and text.isprintable()
        if not is_text or not text.strip():
            raise ConfigError(
                "connection_id holds characters that no id has; copy it from the list of "
                "connections",
                setting="connection_id",
            )

    @property
    def name(self) -> str:
        """`maton`."""
        return "maton"

    @property
    def queue_root(self) -> str:
        """The gateway's origin and its app prefix: owners follow, so `fal-ai` comes twice."""
        return f"{self.base_url}/fal-ai"

    @property
    def abilities(self) -> frozenset[str]:
        """The queue."""
        return frozenset({QUEUE})

    @property
    def calls_per_s(self) -> float | None:
        """10 for the account, polls included (Maton's gateway skill, 2026)."""
        return 10.0

    def advise(self, status_code: int, /, *, is_own: bool | None) -> str | None:
        """Return the steps of Maton's error table (fal-ai skill 1.0, 2026-03).

        Args:
            status_code: HTTP status of the answer.
            is_own: Whether Maton itself speaks.
        """
        if is_own is None:
            return None
        table = _MATON_ADVICE if is_own else _FAL_ADVICE
        return table.get(min(500, status_code))

    def auth_headers(self) -> dict[str, str]:
        """Return `Authorization: Bearer …` and the connection, masked in every repr.

        Raises:
            ConfigError: It has no key.
        """
        headers: dict[str, str] = {}
        if self.connection_id is not None:
            headers["Maton-Connection"] = self.connection_id
        headers["Authorization"] = self._bearer("Bearer", self.key, "MATON_API_KEY")
        return headers
