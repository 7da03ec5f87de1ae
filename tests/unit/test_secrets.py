"""Secrets that are refused, or given beside what is refused: no traceback shows them."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pkgutil
import re
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import falq
from falq.batch import Batch
from falq.cli.app import app
from falq.config import build_config, resolve_proxy
from falq.proxies import Proxy
from falq.secrets import hold
from falq.web import AppSession

CANARY = "canary-7f3a"
KEY = f"11111111:{CANARY}"
URL = f"http://me:{CANARY}@proxy.example.com:3128"
REFUSED_URL = f"{URL}/path"

Give = Callable[[], object]

# Of each that takes a secret as plain text: calls that fail.
FAILING: dict[str, list[Give]] = {
    "Fal": [
        lambda: falq.Fal(key=KEY, queue_url="ftp://example.com"),
        lambda: falq.Fal(key=f"{KEY} and a space"),
        lambda: falq.Fal(key=f"{KEY}:"),
        lambda: falq.Fal(key=CANARY),
        lambda: falq.Fal(key=KEY.encode()),
        lambda: falq.Fal(key=[KEY]),
        lambda: falq.Fal(key=KEY, queue="https://example.com"),
        lambda: falq.Fal(api_key=KEY),
        lambda: falq.Fal(KEY),
    ],
    "Maton": [
        lambda: falq.Maton(key=KEY, base_url="ftp://example.com"),
        lambda: falq.Maton(key=KEY, connection_id=""),
        lambda: falq.Maton(key=f"{KEY} and a space"),
        lambda: falq.Maton(key=KEY.encode()),
        lambda: falq.Maton(token=KEY),
    ],
    "Proxy": [
        lambda: Proxy(address=URL),
        lambda: Proxy(address=[URL]),
        lambda: Proxy(address=f"socks5://{CANARY}"),
        lambda: Proxy(address="http://proxy", login=f"me:{CANARY}", bypass=3),
        lambda: Proxy(address="http://proxy", login=CANARY.encode()),
        lambda: Proxy(address="http://proxy", password=CANARY),
    ],
    "Proxy.parse": [
        lambda: Proxy.parse(REFUSED_URL),
        lambda: Proxy.parse(f"http://me:{CANARY}#proxy.example.com"),
        lambda: Proxy.parse(URL.encode()),
        lambda: Proxy.parse(URL, bypass=3),
    ],
    "resolve_proxy": [
        lambda: resolve_proxy(REFUSED_URL, {}),
        lambda: resolve_proxy(URL.encode(), {}),
        lambda: resolve_proxy(URL, {"FALQ_PROXY_IS_FILTERING": "perhaps"}),
        lambda: resolve_proxy(None, {"FALQ_PROXY": REFUSED_URL}),
    ],
    "Session": [
        lambda: falq.Session(falq.Fal(key="a:b"), proxy=REFUSED_URL),
        lambda: falq.Session(falq.Fal(key="a:b"), proxy=URL, max_jobs=-1),
        lambda: falq.Session(falq.Fal(key="a:b"), proxy=URL, per_endpoint={"//": 1}),
        lambda: falq.Session(KEY),
        lambda: falq.Session([KEY]),
        lambda: falq.Session(key=KEY),
    ],
    "Batch": [
        lambda: Batch(["a cat"], gateway=falq.Fal(key="a:b"), proxy=URL, per_endpoint={"//": 1}),
        lambda: Batch(["a cat"], gateway=falq.Fal(key="a:b"), endpoint="//", proxy=URL),
        lambda: Batch(["a cat"], gateway=KEY, endpoint="acme/echo"),
    ],
    "AppSession": [
        lambda: AppSession(proxy=URL, max_waiting=0),
        lambda: AppSession(proxy=URL, journal="one.sqlite", journal_folder="many"),
    ],
    "build_config": [
        lambda: build_config({}, gateway=falq.Fal(key="a:b"), proxy=REFUSED_URL),
        lambda: build_config({}, gateway=falq.Fal(key="a:b"), proxy=URL, max_jobs=-1),
        lambda: build_config({}, gateway=KEY),
        lambda: build_config({"FAL_KEY": KEY}, queue="no such setting"),
        lambda: build_config({"FAL_KEY": f"{KEY} "}, max_jobs=-1),
    ],
}


# Not written as parameters: they hand on what they are given by name.
BY_NAME = {"Batch", "AppSession", "build_config"}

# The words mean something else there: a row's own name, a key of JSON, a piece of a
# text, and what resumes a job, which is worth nothing without a key.
NO_SECRETS = re.compile(
    r".*\.load_job|Engine\.start_job|PlannedJob|JobRecord|JournalConflictError|Job|PartFile|Axis"
    r"|read_json|Embedding|Unfinished"
)


def takes_plain_secret(parameter: inspect.Parameter) -> bool:
    kinds = set(re.findall(r"\w+", str(parameter.annotation)))
    is_named_so = re.search(r"key|login|password|proxy|secret|token", parameter.name) is not None
    return "str" in kinds and (is_named_so or "Secret" in kinds)


def public_modules() -> Iterator[Any]:
    for module in pkgutil.walk_packages(falq.__path__, "falq."):
        # The emulator's keys are made up, and its tokens lead nowhere.
        if not re.search(r"\._|\.emulator|__main__|\.cli", module.name):
            yield importlib.import_module(module.name)


def public_callables() -> Iterator[tuple[str, Any]]:
    """What is reached without an underscore: functions, classes, and their methods."""
    for module in public_modules():
        for name, value in inspect.getmembers(module, inspect.isroutine):
            yield name, value
        for name, value in inspect.getmembers(module, inspect.isclass):
            yield name, value
            yield from ((f"{name}.{own}", getattr(value, own, None)) for own in vars(value))


def found_to_take_secrets() -> set[str]:
    found = set()
    for name, value in public_callables():
        is_ours = callable(value) and str(getattr(value, "__module__", "")).startswith("falq")
        if not is_ours or re.search(r"(^|\.)_", name) or NO_SECRETS.fullmatch(name):
            continue
        # What inherits from C has no signature, and is called by its own name only.
        with contextlib.suppress(ValueError):
            if any(map(takes_plain_secret, inspect.signature(value).parameters.values())):
                found.add(name)
    return found


def test_everything_public_that_takes_a_secret_as_plain_text_is_tried_here():
    assert found_to_take_secrets() == FAILING.keys() - BY_NAME


def shown_by(error: BaseException | None) -> list[str]:
    """What a crash reporter shows below the caller: locals, and what objects among them hold."""
    shown = []
    while error is not None:
        shown += [repr(error), *map(repr, vars(error).values())]
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename == __file__:
                continue
            for value in list(frame.f_locals.values()):
                # What is half-made may have no repr.
                with contextlib.suppress(AttributeError):
                    shown.append(repr(value))
                shown += map(repr, getattr(value, "__dict__", {}).values())
        error = error.__cause__ or error.__context__
    return shown


@pytest.mark.parametrize(
    ("name", "number"),
    [(name, number) for name, calls in FAILING.items() for number in range(len(calls))],
)
def test_no_frame_of_a_call_that_fails_shows_the_secret_it_was_given(name, number):
    with pytest.raises((falq.FalqError, TypeError, ValueError)) as caught:
        FAILING[name][number]()
    assert not [text for text in shown_by(caught.value) if CANARY in text]


async def test_a_batch_and_an_app_that_fail_at_their_start_show_no_password():
    session: dict[str, Any] = {"proxy": URL, "max_calls": -1}
    gateway = falq.Fal(key="a:b", queue_url="http://127.0.0.1:9")
    with pytest.raises(falq.ConfigError) as of_batch:
        await Batch(
            [{"say": "hello"}], gateway=gateway, endpoint="acme/echo", **session
        ).__aenter__()
    with pytest.raises(falq.ConfigError) as of_app:
        await AppSession(gateway=gateway, **session).open()
    for caught in (of_batch, of_app):
        assert not [text for text in shown_by(caught.value) if CANARY in text]


def test_no_option_of_the_command_line_takes_a_secret():
    """It would stand in the list of processes; keys come from the environment."""
    words = [
        word
        for name in app
        if not name.startswith("-")
        for argument in app[name].assemble_argument_collection(parse_docstring=True)
        for word in argument.names
    ]
    assert "--out" in words
    assert not [word for word in words if re.search(r"key|login|password|secret|token", word)]


def test_what_is_held_says_what_it_was_and_no_more():
    assert [repr(hold(one)) for one in (KEY, KEY.encode(), [KEY], 3)] == [
        "<secret>",
        "<bytes>",
        "<list>",
        "<int>",
    ]
    proxy = Proxy(address="http://proxy")
    assert hold(None) is None
    assert hold(proxy, Proxy) is proxy
    assert hold(hold(KEY)) == hold(KEY)
