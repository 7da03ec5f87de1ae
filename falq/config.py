"""Session settings, and the only reader of environment variables.

Owns the defaults and the check of every setting, and the choice of a gateway.
Settings given in code win over the environment. Nothing is read on import.

| variable | meaning |
|---|---|
| `FAL_KEY` | fal's key, `<key id>:<key secret>` |
| `FAL_KEY_ID`, `FAL_KEY_SECRET` | the same in two parts, if `FAL_KEY` is unset |
| `MATON_API_KEY` | the Maton key |
| `FALQ_GATEWAY` | `fal` or `maton`: which, when keys of both are set |
| `FALQ_BASE_URL` | the queue's address; below it `/_run`, `/_rest`, `/_cdn`, `/_platform` |
| `FALQ_API_URL` | address of fal's Platform API; with `FALQ_BASE_URL`, its `/_platform` if unset |
| `FAL_RUN_HOST`, `FAL_QUEUE_RUN_HOST` | bare hosts of runs and the queue, as in fal_client |
| `FALQ_MAX_CONCURRENCY` | `max_jobs` of sessions that do not say |
| `FALQ_PROXY` | the proxy's URL, or `environment` for `HTTPS_PROXY` and `NO_PROXY` |
| `FALQ_PROXY_IS_FILTERING` | `1` if the proxy itself refuses private addresses |
"""

from __future__ import annotations

import contextlib
import os
import ssl
import sys
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import evolve, field, frozen

from falq._core.messages import CallLimits, CallTimeouts
from falq._core.pollsettings import PollSettings
from falq._core.retry import RetrySettings
from falq.errors import ConfigError
from falq.events import Hook
from falq.gateways import Fal, Gateway, Maton, check_origin, is_loopback
from falq.model import Completion, Delivery, OnCancel, OnUnknown
from falq.proxies import Proxy
from falq.secrets import Secret, hold, hold_in

DEFAULT_MAX_JOBS = 1000
DEFAULT_MAX_CALLS = 100
DEFAULT_MAX_STREAMS = 50

DEFAULT_SETTLE_S = 900.0
"""How long a lost submit is looked for, in seconds: fal's history may be late.

How late is not documented (promises, part F); a quarter of an hour is a guess.
"""


@frozen(kw_only=True)
class SessionConfig:
    """All settings of a session, checked. `Session` describes them."""

    gateway: Gateway
    timeout: float | None = None
    max_jobs: int = DEFAULT_MAX_JOBS
    per_endpoint: Mapping[str, int] = field(factory=dict)
    max_calls: int = DEFAULT_MAX_CALLS
    calls_per_s: float | None = None
    poll: PollSettings = field(factory=PollSettings)
    retry: RetrySettings = field(factory=RetrySettings)
    call_timeouts: CallTimeouts = field(factory=CallTimeouts)
    call_limits: CallLimits = field(factory=CallLimits)
    delivery: Delivery = "at_most_once"
    max_resends: int = 1
    on_unknown: OnUnknown = "hold"
    settle_s: float = DEFAULT_SETTLE_S
    webhook_base_url: str | None = None
    completion: Completion = "poll"
    max_streams: int = DEFAULT_MAX_STREAMS
    validate: bool = False
    on_event: Hook | None = None
    on_exit: OnCancel = "detach"
    exit_grace_s: float = 5.0
    ssl_context: ssl.SSLContext | None = None
    proxy: Proxy | None = None
    seed: int | None = None

    def __attrs_post_init__(self) -> None:
        for name, kind in _KINDS.items():
            _check_kind(name, getattr(self, name), kind)
        _check_count("max_jobs", self.max_jobs)
        _check_count("max_calls", self.max_calls, least=8)
        _check_count("max_resends", self.max_resends, least=0)
        _check_count("max_streams", self.max_streams)
        _check_word("completion", self.completion, {"poll", "stream"})
        for endpoint, limit in self.per_endpoint.items():
            _check_count(f"per_endpoint[{endpoint!r}]", limit)
        for name in ("timeout", "calls_per_s"):
            _check_seconds(name, getattr(self, name))
        for name in ("exit_grace_s", "settle_s"):
            if getattr(self, name) != 0:
                _check_seconds(name, getattr(self, name))
        _check_webhook_base(self.webhook_base_url)
        if self.on_event is not None and not callable(self.on_event):
            raise ConfigError("on_event is a function or None", setting="on_event")
        if not isinstance(self.validate, bool):
            raise ConfigError(
                f"validate is True or False, got {self.validate!r}", setting="validate"
            )
        _check_word("delivery", self.delivery, {"at_most_once", "reconcile", "at_least_once"})
        _check_word("on_unknown", self.on_unknown, {"hold", "resubmit"})
        _check_word("on_exit", self.on_exit, {"detach", "cancel"})


_KINDS: dict[str, type] = {
    "gateway": Gateway,
    "poll": PollSettings,
    "retry": RetrySettings,
    "call_timeouts": CallTimeouts,
    "call_limits": CallLimits,
}


def _check_kind(setting: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise ConfigError(
            f"{setting} is a falq.{kind.__name__}, got {type(value).__name__}", setting=setting
        )


def _check_count(setting: str, value: object, *, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(
            f"{setting} is a whole number of {least} or more, got {value!r}", setting=setting
        )


def _check_seconds(setting: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ConfigError(f"{setting} is a number above 0 or None, got {value!r}", setting=setting)
    if isinstance(value, int) and value > sys.float_info.max:
        # It would fail only where it is waited for.
        raise ConfigError(f"{setting} is larger than any number of seconds", setting=setting)


def _check_webhook_base(url: object) -> None:
    """Refuse an address that fal could not call, or that an id cannot be put behind."""
    if url is None:
        return
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        host = None if parts is None else parts.hostname
    except ValueError:
        parts, host = None, None
    is_plain = isinstance(url, str) and url.isascii() and url.isprintable()
    if parts is None or not host or not is_plain or not {"@", "?", "#", " "}.isdisjoint(str(url)):
        raise ConfigError(
            "webhook_base_url is an address of scheme, host and path, such as "
            "'https://example.com/fal'",
            setting="webhook_base_url",
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ConfigError(
            "webhook_base_url is an https:// address (http:// is for loopback addresses only): "
            "results would travel unencrypted",
            setting="webhook_base_url",
        )


def _check_word(setting: str, value: object, words: set[str]) -> None:
    if not isinstance(value, str) or value not in words:
        allowed = " or ".join(repr(word) for word in sorted(words))
        raise ConfigError(f"{setting} is {allowed}, got {value!r}", setting=setting)


class _Variables(Mapping[str, str]):
    """Environment variables that show no value: one of them is the key.

    `repr` of `os.environ` has all of them, and a traceback with its locals shows it.
    """

    __slots__ = ("_variables",)

    def __init__(self, variables: Mapping[str, str] | None) -> None:
        self._variables = os.environ if variables is None else variables

    def __getitem__(self, name: str) -> str:
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def __repr__(self) -> str:
        return "<variables>"


def hold_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a session that show no secret, whoever they are shown to.

    A proxy's URL may have a password in it, and what is wrongly given as a gateway may
    be a key. Who keeps settings until a session is made holds them first. Never fails.

    Args:
        settings: By name.
    """
    return hold_in(settings, {"gateway": Gateway, "proxy": Proxy})


def build_config(environ: Mapping[str, str] | None = None, **settings: Any) -> SessionConfig:
    """Return the settings of a session, with what the environment adds.

    Args:
        environ: Variables to read; None for those of the process.
        settings: Those of `SessionConfig`; None for `gateway`, `max_jobs` or `proxy`
            leaves the choice to the environment. A proxy may be a URL.

    Raises:
        ConfigError: A setting is missing or wrong.
    """
    settings = hold_secrets(settings)
    environ = _Variables(environ)
    settings["gateway"] = resolve_gateway(settings.get("gateway"), environ)
    settings["proxy"] = resolve_proxy(settings.get("proxy"), environ)
    if settings.get("max_jobs") is None:
        settings["max_jobs"] = _max_jobs_from(environ)
    return SessionConfig(**settings)


FROM_ENVIRONMENT = "environment"
"""Instead of a proxy's URL: take `HTTPS_PROXY` and `NO_PROXY`.

Not the default: a variable that was set for something else shall not decide
through whom paid calls go (promises, D6)."""


def resolve_proxy(
    proxy: Proxy | Secret | str | None, environ: Mapping[str, str] | None = None
) -> Proxy | None:
    """Return the proxy to go through, None for none.

    Args:
        proxy: What the user gave: a `Proxy`, its URL or `"environment"`; None to take
            `FALQ_PROXY`.
        environ: Variables to read; None for those of the process.

    Raises:
        ConfigError: It is no proxy. It is not shown, for it may hold a password.
    """
    proxy = hold(proxy, Proxy)
    environ = _Variables(environ)
    if isinstance(proxy, Proxy):
        return proxy
    if proxy is None:
        proxy = Secret(environ.get("FALQ_PROXY", ""))
    if not isinstance(proxy, Secret):
        raise ConfigError("proxy is a falq.Proxy or its URL", setting="proxy")
    bypass = ""
    if proxy.reveal().lower() == FROM_ENVIRONMENT:
        proxy = Secret(_either_case(environ, "HTTPS_PROXY") or _either_case(environ, "ALL_PROXY"))
        bypass = _either_case(environ, "NO_PROXY")
    if not proxy:
        return None
    is_filtering = environ.get("FALQ_PROXY_IS_FILTERING", "")
    if is_filtering not in {"", "0", "1"}:
        raise ConfigError("FALQ_PROXY_IS_FILTERING is 1 or 0", setting="FALQ_PROXY_IS_FILTERING")
    return Proxy.parse(proxy, bypass=bypass.split(","), is_filtering=is_filtering == "1")


def _either_case(environ: Mapping[str, str], variable: str) -> str:
    # curl's order, which is everybody's.
    return environ.get(variable.lower()) or environ.get(variable) or ""


def _max_jobs_from(environ: Mapping[str, str]) -> int:
    text = environ.get("FALQ_MAX_CONCURRENCY")
    if not text:
        return DEFAULT_MAX_JOBS
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(
            f"FALQ_MAX_CONCURRENCY is a whole number of 1 or more, got {text!r}",
            setting="FALQ_MAX_CONCURRENCY",
        )
    return int(text)


def resolve_gateway(gateway: Gateway | None, environ: Mapping[str, str]) -> Gateway:
    """Return the gateway to use, with its key.

    Args:
        gateway: What the user gave; None to choose by the environment.
        environ: Such as `os.environ`.

    Raises:
        ConfigError: There is no key, or the choice is not clear. The message
            names the variables to set.
    """
    gateway = hold(gateway, Gateway)
    environ = _Variables(environ)
    if gateway is None:
        return _gateway_from(environ)
    if not isinstance(gateway, Gateway):
        raise ConfigError(
            "gateway is a falq.Fal or a falq.Maton; a key goes into one: falq.Fal(key=...)",
            setting="gateway",
        )
    if isinstance(gateway, Fal) and gateway.key is None:
        fal_key = _need(_fal_key_from(environ), "FAL_KEY")
        with _naming("FAL_KEY"):
            return evolve(gateway, key=fal_key)
    if isinstance(gateway, Maton) and gateway.key is None:
        maton_key = _need(_maton_key_from(environ), "MATON_API_KEY")
        with _naming("MATON_API_KEY"):
            return evolve(gateway, key=maton_key)
    return gateway


@contextlib.contextmanager
def _naming(variable: str) -> Iterator[None]:
    """Make what is wrong with a key say which variable it came from."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{variable}: {error}", setting=variable) from None


def _gateway_from(environ: Mapping[str, str]) -> Gateway:
    fal_key, maton_key = _fal_key_from(environ), _maton_key_from(environ)
    choice = environ.get("FALQ_GATEWAY", "").lower()
    if choice not in {"", "fal", "maton"}:
        raise ConfigError(
            f"FALQ_GATEWAY is 'fal' or 'maton', got {choice!r}", setting="FALQ_GATEWAY"
        )
    if not choice and not fal_key and not maton_key:
        raise ConfigError(
            "no key: set FAL_KEY to '<key id>:<key secret>' (from fal.ai/dashboard/keys), or "
            "MATON_API_KEY for the Maton gateway; to try falq without one, run 'falq demo'",
            setting="FAL_KEY",
        )
    if choice == "maton" or (not choice and not fal_key):
        return _maton_from(environ, _need(maton_key, "MATON_API_KEY"))
    return _fal_from(environ, _need(fal_key, "FAL_KEY"))


def _fal_key_from(environ: Mapping[str, str]) -> Secret | None:
    if environ.get("FAL_KEY"):
        return Secret(environ["FAL_KEY"])
    has_id, has_secret = (bool(environ.get(name)) for name in ("FAL_KEY_ID", "FAL_KEY_SECRET"))
    if has_id != has_secret:
        lacking = "FAL_KEY_SECRET" if has_id else "FAL_KEY_ID"
        raise ConfigError(
            f"FAL_KEY_ID and FAL_KEY_SECRET go together; {lacking} is not set", setting=lacking
        )
    return Secret(f"{environ['FAL_KEY_ID']}:{environ['FAL_KEY_SECRET']}") if has_id else None


def _maton_key_from(environ: Mapping[str, str]) -> Secret | None:
    key = environ.get("MATON_API_KEY")
    return Secret(key) if key else None


def _need(key: Secret | None, variable: str) -> Secret:
    if not key:
        raise ConfigError(f"no key: set {variable}, or pass key=...", setting=variable)
    return key


def _fal_from(environ: Mapping[str, str], key: Secret) -> Fal:
    base_url, api_url = _url_from(environ, "FALQ_BASE_URL"), _url_from(environ, "FALQ_API_URL")
    if base_url is not None:
        # Whose queue is elsewhere has a key for elsewhere: fal itself never sees it.
        origins = {"queue_url": base_url, "api_url": api_url or f"{base_url}/_platform"}
        origins |= {f"{name}_url": f"{base_url}/_{name}" for name in ("run", "rest", "cdn")}
    else:
        run_url = _host_url(environ.get("FAL_RUN_HOST") or "fal.run", "FAL_RUN_HOST")
        queue_host = environ.get("FAL_QUEUE_RUN_HOST") or f"queue.{run_url.partition('://')[2]}"
        origins = {
            "run_url": run_url,
            "queue_url": _host_url(queue_host, "FAL_QUEUE_RUN_HOST"),
        }
        if api_url is not None:
            origins["api_url"] = api_url
    with _naming("FAL_KEY"):
        return Fal(key=key, **origins)


def _host_url(host: str, variable: str) -> str:
    # fal_client takes bare hosts and drops a scheme; https in either case.
    return check_origin(f"https://{host.split('://')[-1]}", setting=variable)


def _url_from(environ: Mapping[str, str], variable: str) -> str | None:
    url = environ.get(variable)
    return check_origin(url, setting=variable) if url else None


def _maton_from(environ: Mapping[str, str], key: Secret) -> Maton:
    base_url = _url_from(environ, "FALQ_BASE_URL")
    origins = {} if base_url is None else {"base_url": base_url, "control_url": base_url}
    with _naming("MATON_API_KEY"):
        return Maton(key=key, **origins)
