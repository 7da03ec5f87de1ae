from __future__ import annotations

import traceback
from typing import Any

import pytest

import falq
from falq.config import DEFAULT_MAX_JOBS, SessionConfig, build_config, resolve_gateway
from falq.errors import ConfigError

KEY = "id:secret"
CANARY = "canary5e1e7143"

CHOICES = {
    "fal": ({"FAL_KEY": KEY}, "fal", "id:secret"),
    "fal in two parts": ({"FAL_KEY_ID": "id", "FAL_KEY_SECRET": "s"}, "fal", "id:s"),
    "one key wins over its parts": (
        {"FAL_KEY": KEY, "FAL_KEY_ID": "x", "FAL_KEY_SECRET": "y"},
        "fal",
        "id:secret",
    ),
    "maton": ({"MATON_API_KEY": "m"}, "maton", "m"),
    "both": ({"FAL_KEY": KEY, "MATON_API_KEY": "m"}, "fal", "id:secret"),
    "both, maton chosen": (
        {"FAL_KEY": KEY, "MATON_API_KEY": "m", "FALQ_GATEWAY": "maton"},
        "maton",
        "m",
    ),
    "both, fal chosen in capitals": (
        {"FAL_KEY": KEY, "MATON_API_KEY": "m", "FALQ_GATEWAY": "FAL"},
        "fal",
        "id:secret",
    ),
    "empty is unset": ({"FAL_KEY": "", "MATON_API_KEY": "m", "FALQ_GATEWAY": ""}, "maton", "m"),
}


@pytest.mark.parametrize("kind", CHOICES)
def test_the_environment_chooses_gateway_and_key(kind):
    environ, name, key = CHOICES[kind]
    gateway = resolve_gateway(None, environ)
    assert (gateway.name, gateway.key.reveal()) == (name, key)


LACKS = {
    "nothing set": ({}, ["FAL_KEY", "MATON_API_KEY", "falq demo"]),
    "half a key": ({"FAL_KEY_ID": CANARY}, ["FAL_KEY_SECRET"]),
    "the other half": ({"FAL_KEY_SECRET": CANARY}, ["FAL_KEY_ID"]),
    "fal chosen without its key": ({"MATON_API_KEY": CANARY, "FALQ_GATEWAY": "fal"}, ["FAL_KEY"]),
    "maton chosen without its key": (
        {"FAL_KEY": f"{CANARY}:x", "FALQ_GATEWAY": "maton"},
        ["MATON_API_KEY"],
    ),
    "another gateway": ({"FALQ_GATEWAY": "azure"}, ["FALQ_GATEWAY", "'fal' or 'maton'"]),
    "a key of another form": ({"FAL_KEY": CANARY}, ["FAL_KEY"]),
    "a maton key with a space": ({"MATON_API_KEY": f"{CANARY} x"}, ["MATON_API_KEY"]),
    "an unsafe base": (
        {"FAL_KEY": KEY, "FALQ_BASE_URL": "http://evil.example"},
        ["FALQ_BASE_URL"],
    ),
    "an unsafe base of maton": (
        {"MATON_API_KEY": "m", "FALQ_BASE_URL": "http://evil.example"},
        ["FALQ_BASE_URL"],
    ),
    "a run host with a user": ({"FAL_KEY": KEY, "FAL_RUN_HOST": "me@x"}, ["FAL_RUN_HOST"]),
    "a queue host with a query": (
        {"FAL_KEY": KEY, "FAL_QUEUE_RUN_HOST": "x?y"},
        ["FAL_QUEUE_RUN_HOST"],
    ),
}


@pytest.mark.parametrize("kind", LACKS)
def test_what_is_wrong_in_the_environment_is_named_by_its_variable_and_never_echoed(kind):
    environ, words = LACKS[kind]
    with pytest.raises(ConfigError) as caught:
        resolve_gateway(None, environ)
    assert all(word in str(caught.value) for word in words)
    assert caught.value.setting in words
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def shown_with_locals(error):
    """What a traceback with its locals shows below the caller's own frame."""
    shown = []
    for frame, _ in traceback.walk_tb(error.__traceback__.tb_next):
        # What a refusal broke off half-way is shown as well.
        shown += map(repr, frame.f_locals.values())
    return " ".join(shown)


@pytest.mark.parametrize("kind", LACKS)
def test_what_is_wrong_in_the_environment_leaves_no_key_among_the_locals(kind, monkeypatch):
    for name in ("FAL_KEY", "FAL_KEY_ID", "FAL_KEY_SECRET", "MATON_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in LACKS[kind][0].items():
        monkeypatch.setenv(name, value.replace(KEY, f"id:{CANARY}"))
    with pytest.raises(ConfigError) as caught:
        build_config()
    shown = shown_with_locals(caught.value)
    assert "<variables>" in shown
    assert CANARY not in shown


def test_a_session_with_a_refused_key_shows_it_nowhere(monkeypatch):
    monkeypatch.setenv("FAL_KEY", f"{CANARY} has a space")
    with pytest.raises(ConfigError) as caught:
        falq.Session()
    assert CANARY not in shown_with_locals(caught.value)


def test_a_gateway_without_a_key_is_given_the_one_of_the_environment():
    fal = resolve_gateway(falq.Fal(queue_url="http://127.0.0.1:9"), {"FAL_KEY": KEY})
    assert (fal.queue_url, fal.key.reveal()) == ("http://127.0.0.1:9", KEY)
    maton = resolve_gateway(falq.Maton(connection_id="c"), {"MATON_API_KEY": "m"})
    assert (maton.connection_id, maton.key.reveal()) == ("c", "m")


@pytest.mark.parametrize(
    ("gateway", "variable"), [(falq.Fal(), "FAL_KEY"), (falq.Maton(), "MATON_API_KEY")], ids=repr
)
@pytest.mark.parametrize("key", [None, f"{CANARY} \x00 x"], ids=["no key", "bad key"])
def test_a_gateway_whose_key_is_missing_or_bad_names_its_variable(gateway, variable, key):
    with pytest.raises(ConfigError, match=variable) as caught:
        resolve_gateway(gateway, {} if key is None else {variable: key})
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_key_given_in_code_wins_over_the_environment():
    own = falq.Fal(key="own:key")
    assert resolve_gateway(own, {"FAL_KEY": KEY, "FALQ_GATEWAY": "maton"}) is own


HOSTS = {
    "none": ({}, "https://queue.fal.run", "https://fal.run"),
    "run host": ({"FAL_RUN_HOST": "my.run"}, "https://queue.my.run", "https://my.run"),
    "queue host": ({"FAL_QUEUE_RUN_HOST": "q.run"}, "https://q.run", "https://fal.run"),
    "a scheme is dropped": (
        {"FAL_RUN_HOST": "http://my.run", "FAL_QUEUE_RUN_HOST": "https://q.run/"},
        "https://q.run",
        "https://my.run",
    ),
    "base": (
        {"FALQ_BASE_URL": "http://127.0.0.1:9/"},
        "http://127.0.0.1:9",
        "http://127.0.0.1:9/_run",
    ),
    "base wins": (
        {"FALQ_BASE_URL": "https://b.example/fal", "FAL_QUEUE_RUN_HOST": "q.run"},
        "https://b.example/fal",
        "https://b.example/fal/_run",
    ),
}


@pytest.mark.parametrize("kind", HOSTS)
def test_hosts_come_from_the_environment(kind):
    environ, queue_url, run_url = HOSTS[kind]
    gateway = resolve_gateway(None, {"FAL_KEY": KEY} | environ)
    assert (gateway.queue_url, gateway.run_url) == (queue_url, run_url)


def test_with_a_base_of_its_own_the_key_goes_to_no_host_of_fals():
    gateway = resolve_gateway(None, {"FAL_KEY": KEY, "FALQ_BASE_URL": "https://b.example"})
    assert gateway.queue_url == "https://b.example"
    origins = [gateway.run_url, gateway.rest_url, gateway.cdn_url, gateway.api_url]
    assert origins == [f"https://b.example/_{name}" for name in ("run", "rest", "cdn", "platform")]


@pytest.mark.parametrize("base", [{}, {"FALQ_BASE_URL": "https://b.example"}], ids=["", "base"])
def test_the_platform_api_has_an_address_of_its_own_in_the_environment(base):
    environ = {"FAL_KEY": KEY, "FALQ_API_URL": "https://api.example/v1"} | base
    assert resolve_gateway(None, environ).api_url == "https://api.example/v1"


def test_maton_is_asked_for_connections_at_the_base_of_the_environment():
    environ = {"MATON_API_KEY": "m", "FALQ_BASE_URL": "https://api.maton.ai"}
    assert resolve_gateway(None, environ).control_url == "https://api.maton.ai"


def test_the_base_of_maton_comes_from_the_environment():
    environ = {"MATON_API_KEY": "m", "FALQ_BASE_URL": "https://api.maton.ai"}
    assert resolve_gateway(None, environ).queue_root == "https://api.maton.ai/fal-ai"
    del environ["FALQ_BASE_URL"]
    assert resolve_gateway(None, environ).queue_root == "https://gateway.maton.ai/fal-ai"


def test_the_environment_of_the_process_is_read_when_a_session_is_configured(monkeypatch):
    monkeypatch.setenv("FAL_KEY", KEY)
    monkeypatch.setenv("FALQ_MAX_CONCURRENCY", "7")
    monkeypatch.delenv("FALQ_GATEWAY", raising=False)
    config = build_config()
    assert (config.gateway.key.reveal(), config.max_jobs) == (KEY, 7)


@pytest.mark.parametrize(
    ("given_jobs", "text", "max_jobs"),
    [(None, None, DEFAULT_MAX_JOBS), (None, "", DEFAULT_MAX_JOBS), (None, "5", 5), (3, "5", 3)],
)
def test_max_jobs_in_code_wins_over_the_environment(given_jobs, text, max_jobs):
    environ = {"FAL_KEY": KEY} | ({} if text is None else {"FALQ_MAX_CONCURRENCY": text})
    assert build_config(environ, max_jobs=given_jobs).max_jobs == max_jobs


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", " 5"])
def test_a_concurrency_that_is_none_is_refused_by_its_variable(text):
    with pytest.raises(ConfigError, match="FALQ_MAX_CONCURRENCY"):
        build_config({"FAL_KEY": KEY, "FALQ_MAX_CONCURRENCY": text})


REFUSED: list[tuple[str, Any]] = [
    ("max_jobs", 0),
    ("max_jobs", 1.5),
    ("max_jobs", True),
    ("max_calls", 7),
    ("max_resends", -1),
    ("per_endpoint", {"fal-ai/flux": 0}),
    ("per_endpoint", {"fal-ai/flux": "2"}),
    ("timeout", 0),
    ("timeout", float("nan")),
    ("timeout", 10**400),
    ("timeout", "60"),
    ("timeout", True),
    ("calls_per_s", -1.0),
    ("exit_grace_s", -0.1),
    ("exit_grace_s", float("nan")),
    ("exit_grace_s", "5"),
    ("delivery", "exactly_once"),
    ("delivery", ["at_most_once"]),
    ("on_exit", "ignore"),
]


@pytest.mark.parametrize(("setting", "value"), REFUSED, ids=[f"{n}={v!r}" for n, v in REFUSED])
def test_a_setting_that_makes_no_sense_is_refused_by_name(setting, value):
    with pytest.raises(ConfigError) as caught:
        SessionConfig(gateway=falq.Fal(key=KEY), **{setting: value})
    assert caught.value.setting.startswith(setting)
    assert setting in str(caught.value)


def test_settings_at_their_limits_are_taken():
    config = SessionConfig(
        gateway=falq.Fal(key=KEY),
        max_jobs=1,
        max_calls=8,
        max_resends=0,
        exit_grace_s=0,
        timeout=0.1,
        per_endpoint={"fal-ai/flux": 1},
        delivery="at_least_once",
        on_exit="cancel",
    )
    assert "secret" not in repr(config).replace("ssl", "")
