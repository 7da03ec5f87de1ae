from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

import falq
from falq.errors import ConfigError, UnsupportedError
from falq.gateways import (
    PLATFORM,
    QUEUE,
    REALTIME,
    RUN,
    STREAM,
    UPLOAD,
    Gateway,
    HeaderSecret,
    Secret,
    check_origin,
    is_loopback,
)

CANARY = "canary5e1e7143"
KEY = f"id-{CANARY}:secret-{CANARY}"
FAL, MATON = falq.Fal(key=KEY), falq.Maton(key=CANARY)


@pytest.mark.parametrize("gateway", [FAL, MATON], ids=lambda gateway: gateway.name)
def test_a_key_is_shown_nowhere(gateway):
    headers = gateway.auth_headers()
    shown = [
        repr(gateway),
        str(gateway),
        repr(headers),
        repr(gateway.key),
        str(gateway.key),
        f"{gateway.key}",
        f"{gateway.key:>20}",
        "%s %r" % (gateway.key, gateway.key),  # noqa: UP031  the form that logging uses
        "{}".format(gateway.key),  # noqa: UP032  as above
        repr(vars(headers.get("Authorization")) if hasattr(headers, "__dict__") else ()),
    ]
    assert not [text for text in shown if CANARY in text]


def test_a_key_in_the_locals_of_a_traceback_is_masked():
    def fail() -> None:
        key, headers = FAL.key, FAL.auth_headers()
        raise RuntimeError(bool(key) + len(headers))

    try:
        fail()
    except RuntimeError as error:
        shown = "".join(
            traceback.TracebackException.from_exception(error, capture_locals=True).format()
        )
    assert "<secret>" in shown
    assert CANARY not in shown


@pytest.mark.parametrize("kind", [falq.Fal, falq.Maton])
def test_a_gateway_that_is_refused_half_made_can_be_shown(kind):
    with pytest.raises(ConfigError) as caught:
        kind(key=f"{CANARY} has a space")
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__.tb_next)]
    (half_made,) = {repr(frame.f_locals["self"]) for frame in frames if "self" in frame.f_locals}
    assert half_made == f"{kind.__name__}()"


@pytest.mark.parametrize("secret", [FAL, MATON, FAL.key, FAL.auth_headers()], ids=repr)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_key_is_not_pickled(secret, protocol):
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret, protocol)


@pytest.mark.parametrize("secret", [FAL.key, FAL.auth_headers()["Authorization"]], ids=type)
def test_a_key_is_not_copied_either(secret):
    with pytest.raises(TypeError, match="not pickled"):
        copy.copy(secret)


def test_a_key_is_no_text_that_json_or_a_concatenation_would_take():
    assert not isinstance(FAL.key, str)
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps({"key": FAL.key})
    with pytest.raises(TypeError):
        "Key " + FAL.key
    with pytest.raises(TypeError):
        "".join([FAL.key])


def test_keys_that_are_equal_are_the_same_key():
    assert FAL.key == Secret(KEY)
    assert hash(FAL.key) == hash(Secret(KEY))
    assert len({FAL.key, Secret(KEY), Secret(CANARY)}) == 2
    assert FAL.key != KEY
    assert not Secret("")


def test_what_goes_onto_the_wire_is_the_key_itself():
    header = FAL.auth_headers()["Authorization"]
    assert isinstance(header, HeaderSecret)
    assert header.encode() == f"Key {KEY}".encode()
    assert str(header) == f"Key {KEY}"
    assert MATON.auth_headers()["Authorization"].encode() == f"Bearer {CANARY}".encode()
    assert FAL.key.reveal() == KEY
    assert type(FAL.key.reveal()) is str


def test_a_key_is_read_from_the_file_that_a_path_names(tmp_path):
    path = tmp_path / "key"
    path.write_text(f"{KEY}\r\n")
    gateway = falq.Fal(key=path)
    assert gateway.key.reveal() == KEY
    path.write_text(CANARY)
    assert falq.Maton(key=path).key.reveal() == CANARY
    # What it holds later is nothing to a gateway that was made.
    assert gateway.key.reveal() == KEY
    assert CANARY not in repr(gateway)


BAD_KEY_FILES = [
    (b"", "is empty"),
    (b" \n", "is empty"),
    (CANARY.encode() + b"\xff:b", "holds no key"),
    (f"{CANARY}:a\n{CANARY}:b".encode(), "control character"),
    (CANARY.encode(), "one colon"),
    (CANARY.encode() * 1000, "one colon"),
]


@pytest.mark.parametrize(
    ("data", "reason"), BAD_KEY_FILES, ids=[f"file {n}" for n in range(len(BAD_KEY_FILES))]
)
def test_a_file_without_a_key_is_refused_without_an_echo(tmp_path, data, reason):
    path = tmp_path / "key"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=reason) as caught:
        falq.Fal(key=path)
    shown = "".join(traceback.format_exception(caught.value))
    assert CANARY not in shown


def test_a_key_file_that_is_not_there_is_named(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read from"):
            falq.Fal(key=path)


BAD_KEYS = [
    f"{CANARY}",
    f"{CANARY}:b:c",
    f"{CANARY}: b",
    f"{CANARY}\n:b",
    f"{CANARY}:b\x00",
    f"{CANARY}:ä",
    f"{CANARY}:\u200b",
    "",
    " \n",
]


@pytest.mark.parametrize("key", BAD_KEYS, ids=[f"key {n}" for n in range(len(BAD_KEYS))])
def test_a_key_that_is_none_is_refused_without_an_echo(key):
    with pytest.raises(ConfigError) as caught:
        falq.Fal(key=key)
    shown = "".join(traceback.format_exception(caught.value))
    assert CANARY not in shown
    assert caught.value.setting == "key"


def test_a_key_of_another_type_is_refused():
    with pytest.raises(ConfigError, match="must be text"):
        falq.Fal(key=7)  # type: ignore[arg-type]


def test_line_ends_around_a_key_are_dropped_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING, logger="falq"):
        gateway = falq.Fal(key=f" {KEY}\n")
    assert gateway.key.reveal() == KEY
    assert "dropped" in caplog.text
    assert CANARY not in caplog.text


def test_a_key_that_is_masked_already_is_taken_as_it_is():
    assert falq.Fal(key=Secret(KEY)) == FAL
    assert hash(falq.Fal(key=KEY)) == hash(FAL)


GOOD_ORIGINS = [
    ("https://queue.fal.run", "https://queue.fal.run"),
    ("https://queue.fal.run/", "https://queue.fal.run"),
    ("https://api.fal.ai/v1//", "https://api.fal.ai/v1"),
    ("https://proxy.example:8443/fal", "https://proxy.example:8443/fal"),
    ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
    ("http://127.9.9.9", "http://127.9.9.9"),
    ("http://localhost:1", "http://localhost:1"),
    ("http://[::1]:8000", "http://[::1]:8000"),
    ("HTTPS://queue.fal.run", "HTTPS://queue.fal.run"),
]


@pytest.mark.parametrize(("url", "kept"), GOOD_ORIGINS, ids=[row[0] for row in GOOD_ORIGINS])
def test_an_address_that_a_key_may_go_to_is_kept(url, kept):
    assert falq.Fal(queue_url=url).queue_root == kept
    assert check_origin(url, setting="x") == kept


BAD_ORIGINS = [
    "http://queue.fal.run",
    "http://127.0.0.1.evil.example",
    "http://localhost.evil.example",
    "http://0.0.0.0",
    "http://10.0.0.1",
    "http://[::ffff:10.0.0.1]",
    "ftp://127.0.0.1",
    "queue.fal.run",
    "//queue.fal.run",
    "https://",
    "",
    "https://me@queue.fal.run",
    "https://me:pw@queue.fal.run",
    "https://queue.fal.run?x=1",
    "https://queue.fal.run/?",
    "https://queue.fal.run/#",
    "https://queue.fal.run#x",
    "https://queue.fal.run\\@evil.example",
    "https://queue.\nfal.run",
    " https://queue.fal.run",
    "https://queue.fal.run/a b",
    "https://queue.fäl.run",
    "https://queue.fal.run:99999",
    "https://queue.fal.run:0",
    "https://[queue",
    None,
    7,
]


@pytest.mark.parametrize("url", BAD_ORIGINS, ids=repr)
def test_an_address_that_a_key_may_not_go_to_is_refused_by_name(url):
    with pytest.raises(ConfigError) as caught:
        falq.Fal(queue_url=url)
    assert caught.value.setting == "queue_url"
    assert "queue_url" in str(caught.value)


@given(st.text(max_size=40))
def test_no_text_makes_checking_an_address_fail(text):
    for url in (text, f"https://{text}", f"http://{text}"):
        try:
            kept = check_origin(url, setting="x")
        except ConfigError:
            continue
        assert kept.isascii()
        assert kept.isprintable()
        assert not set("@?#\\ ") & set(kept)


@pytest.mark.parametrize(
    ("host", "is_own"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("8.8.8.8", False), ("x", False)],
)
def test_a_host_is_loopback_only_if_it_names_this_machine(host, is_own):
    assert is_loopback(host) is is_own


@pytest.mark.parametrize("name", ["queue_url", "run_url", "rest_url", "cdn_url", "api_url"])
def test_every_address_of_fal_is_checked(name):
    with pytest.raises(ConfigError, match=name):
        falq.Fal(**{name: "http://evil.example"})


@pytest.mark.parametrize("name", ["base_url", "control_url"])
def test_every_address_of_maton_is_checked(name):
    with pytest.raises(ConfigError, match=name):
        falq.Maton(**{name: "http://evil.example"})


def test_maton_puts_its_app_before_the_native_path():
    assert MATON.queue_root == "https://gateway.maton.ai/fal-ai"
    assert falq.Maton(base_url="https://api.maton.ai/").queue_root == "https://api.maton.ai/fal-ai"


def test_maton_names_its_connection_if_there_is_one():
    gateway = falq.Maton(key=CANARY, connection_id="21fd90f9")
    assert gateway.auth_headers()["Maton-Connection"] == "21fd90f9"
    assert "Maton-Connection" not in MATON.auth_headers()


@pytest.mark.parametrize("connection_id", ["", " ", "a\nb", "ä", 7], ids=repr)
def test_a_connection_that_is_none_is_refused(connection_id):
    with pytest.raises(ConfigError, match="connection_id"):
        falq.Maton(connection_id=connection_id)


def test_maton_tells_its_rate_and_fal_has_none():
    assert (MATON.calls_per_s, FAL.calls_per_s) == (10.0, None)


@pytest.mark.parametrize("ability", [RUN, STREAM, REALTIME, UPLOAD, PLATFORM])
def test_what_maton_cannot_do_is_refused_and_the_way_out_named(ability):
    FAL.require(ability)
    with pytest.raises(UnsupportedError, match=r"falq\.Fal"):
        MATON.require(ability)


@pytest.mark.parametrize("ability", [RUN, STREAM, REALTIME, UPLOAD, PLATFORM])
def test_a_key_for_a_queue_elsewhere_goes_to_no_address_of_fals(ability):
    elsewhere = falq.Fal(queue_url="https://q.example")
    with pytest.raises(UnsupportedError, match=r"name its .*_url"):
        elsewhere.require(ability)
    backup = falq.Fal(queue_url="https://queue.falrun.com")
    backup.require(ability)


def test_both_reach_the_queue():
    FAL.require(QUEUE)
    MATON.require(QUEUE)


@pytest.mark.parametrize(
    ("gateway", "variable"), [(falq.Fal(), "FAL_KEY"), (falq.Maton(), "MATON_API_KEY")], ids=repr
)
def test_without_a_key_the_variable_to_set_is_named(gateway, variable):
    with pytest.raises(ConfigError, match=variable):
        gateway.auth_headers()


@pytest.mark.parametrize(
    "use",
    [
        lambda gateway: gateway.name,
        lambda gateway: gateway.queue_root,
        lambda gateway: gateway.abilities,
        lambda gateway: gateway.auth_headers(),
    ],
    ids=["name", "queue_root", "abilities", "auth_headers"],
)
def test_the_base_of_all_gateways_is_none_itself(use):
    with pytest.raises(NotImplementedError):
        use(Gateway())


def test_a_queue_elsewhere_does_not_bring_its_key_to_fals_platform_api():
    elsewhere = falq.Fal(key="id:secret", queue_url="https://queue.example")
    with pytest.raises(UnsupportedError, match="api_url"):
        elsewhere.require("platform")
    whole = falq.Fal(
        key="id:secret", queue_url="https://queue.example", api_url="https://api.example"
    )
    whole.require("platform")
    falq.Fal(key="id:secret").require("platform")
