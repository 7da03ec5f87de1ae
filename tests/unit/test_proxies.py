"""Proxies: what is one, who goes through it, and what is never shown."""

from __future__ import annotations

import pickle
import traceback

import pytest

from falq.config import build_config, resolve_proxy
from falq.errors import ConfigError
from falq.gateways import Fal
from falq.proxies import Proxy

URL = "http://proxy.example.com:3128"


@pytest.mark.parametrize(
    ("url", "address", "login"),
    [
        (URL, URL, None),
        ("proxy.example.com:3128", URL, None),
        ("HTTP://proxy.example.com:3128/", URL, None),
        ("https://proxy.example.com", "https://proxy.example.com", None),
        ("http://me:p%40ss@proxy.example.com:3128", URL, "me:p@ss"),
        ("http://me@proxy.example.com:3128", URL, "me"),
        ("http://me:a@b@proxy.example.com:3128", URL, "me:a@b"),
        ("http://[::1]:3128", "http://[::1]:3128", None),
    ],
)
def test_a_url_names_a_proxy_and_its_login(url, address, login):
    proxy = Proxy.parse(url)
    assert proxy.address == address
    assert (None if proxy.login is None else proxy.login.reveal()) == login


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://",
        "socks5://proxy.example.com:1080",
        "http://me:s3cret@proxy.example.com:99999",
        "http://me:s3cret@proxy.example.com:0",
        "http://me:s3cret@",
        "http://me:s3cret@host name",
        "http://me:s3cret@proxy.example.com:3128/path",
        "http://me:s3cret@proxy.example.com?x=1",
        "http://me:s3cret@[::1",
    ],
)
def test_what_is_no_proxy_is_refused_and_not_shown(url):
    with pytest.raises(ConfigError) as caught:
        Proxy.parse(url)
    assert caught.value.setting == "proxy"
    assert "s3cret" not in str(caught.value)


def test_a_refused_variable_is_in_no_local_of_what_refuses_it():
    with pytest.raises(ConfigError) as caught:
        resolve_proxy(None, {"FALQ_PROXY": "http://me:s3cret@proxy.example.com:3128/path"})
    seen = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    own = [frame for frame in seen.stack if "/falq/" in frame.filename]
    assert own
    assert "s3cret" not in str([frame.locals for frame in own])


def test_an_address_with_a_login_in_it_is_refused():
    with pytest.raises(ConfigError):
        Proxy(address="http://me:s3cret@proxy.example.com")


def test_the_password_is_shown_nowhere():
    proxy = Proxy.parse("http://me:s3cret@proxy.example.com:3128")
    given = proxy.arguments_for("https://queue.fal.run/x")
    shown = f"{proxy!r} {proxy} {vars(type(proxy))} {proxy.login!r} {given!r} {given['proxy']}"
    assert "s3cret" not in shown
    assert "bWU6czNjcmV0" not in shown
    assert str(given["proxy_headers"]["Proxy-Authorization"]) == "Basic bWU6czNjcmV0"
    with pytest.raises(TypeError):
        pickle.dumps(proxy)


@pytest.mark.parametrize(
    ("url", "is_served"),
    [
        ("https://queue.fal.run/a/b", True),
        ("wss://fal.run/a", True),
        ("http://queue.fal.run/a", False),
        ("https://localhost/a", False),
        ("https://127.0.0.1:8443/a", False),
        ("https://[::1]/a", False),
        ("https:///a", False),
    ],
)
def test_only_https_to_other_machines_goes_through_it(url, is_served):
    assert Proxy.parse(URL).serves(url) is is_served
    assert bool(Proxy.parse(URL).arguments_for(url)) is is_served


@pytest.mark.parametrize(
    ("entry", "url", "is_past"),
    [
        ("*", "https://fal.run", True),
        ("fal.run", "https://fal.run", True),
        ("fal.run", "https://queue.fal.run", True),
        ("FAL.run ", "https://Queue.Fal.Run./x", True),
        (".fal.run", "https://queue.fal.run", True),
        ("*.fal.run", "https://queue.fal.run", True),
        ("fal.run", "https://notfal.run", False),
        ("fal.run", "https://fal.run.example.com", False),
        ("fal.run:443", "https://fal.run", True),
        ("fal.run:8443", "https://fal.run", False),
        ("fal.run:8443", "https://fal.run:8443", True),
        ("10.0.0.0/8", "https://10.1.2.3", True),
        ("10.0.0.0/8", "https://11.1.2.3", False),
        ("10.1.2.3", "https://10.1.2.3", True),
        ("[2001:db8::1]", "https://[2001:db8::1]/x", True),
        ("10.0.0.0/8", "https://fal.run", False),
        ("", "https://fal.run", False),
    ],
)
def test_the_hosts_that_go_past_it(entry, url, is_past):
    assert Proxy.parse(URL, bypass=[entry]).serves(url) is not is_past


def test_what_a_server_named_needs_a_filtering_proxy():
    with pytest.raises(ConfigError, match="is_filtering"):
        Proxy.parse(URL).check_filtering("https://media.example.com/a.png")
    Proxy.parse(URL, is_filtering=True).check_filtering("https://media.example.com/a.png")
    Proxy.parse(URL, bypass=["example.com"]).check_filtering("https://media.example.com/a.png")


OTHERS = {"HTTPS_PROXY": "http://other.example.com:1", "NO_PROXY": "example.com, .internal"}


def test_a_variable_of_everybody_s_is_read_only_when_that_is_asked_for():
    assert resolve_proxy(None, OTHERS) is None
    for asked, variables in (("environment", {}), (None, {"FALQ_PROXY": "environment"})):
        proxy = resolve_proxy(asked, OTHERS | variables)
        assert proxy is not None
        assert proxy.address == "http://other.example.com:1"
        assert proxy.bypass == ("example.com", ".internal")
    assert resolve_proxy("environment", {}) is None


def test_the_lower_case_of_a_variable_wins_and_all_proxy_comes_last():
    found = resolve_proxy("environment", OTHERS | {"https_proxy": "http://mine.example.com"})
    assert found is not None
    assert found.address == "http://mine.example.com"
    found = resolve_proxy("environment", {"ALL_PROXY": "all.example.com:1"})
    assert found is not None
    assert found.address == "http://all.example.com:1"


def test_a_proxy_given_in_code_wins_over_the_variable():
    variables = {"FALQ_PROXY": "http://variable.example.com"}
    found = resolve_proxy(URL, variables)
    assert found is not None
    assert found.address == URL
    own = Proxy.parse(URL, bypass=["a"])
    assert resolve_proxy(own, variables) is own


def test_the_variable_says_that_the_proxy_is_filtering():
    variables = {"FALQ_PROXY": URL, "FALQ_PROXY_IS_FILTERING": "1"}
    found = resolve_proxy(None, variables)
    assert found is not None
    assert found.is_filtering
    with pytest.raises(ConfigError) as caught:
        resolve_proxy(None, variables | {"FALQ_PROXY_IS_FILTERING": "maybe"})
    assert caught.value.setting == "FALQ_PROXY_IS_FILTERING"


def test_a_session_takes_it_from_the_variable_and_refuses_what_is_none():
    config = build_config({"FALQ_PROXY": URL}, gateway=Fal(key="a:b"))
    assert config.proxy == Proxy.parse(URL)
    with pytest.raises(ConfigError):
        build_config({}, gateway=Fal(key="a:b"), proxy=3128)
