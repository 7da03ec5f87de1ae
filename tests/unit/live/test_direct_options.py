from __future__ import annotations

import math

import pytest

import falq
from falq.live.direct import RunKeywords, check_method, check_timeout, lost_run, run_options
from falq.model import EndpointId


def test_every_option_of_a_run_is_one_of_a_submission():
    names = {attribute.name for attribute in falq.model.SubmitOptions.__attrs_attrs__}
    assert RunKeywords.__annotations__.keys() <= names


def test_none_stands_for_no_option():
    plain = run_options({})
    assert run_options(dict.fromkeys(["tags", "headers", "hint", "start_timeout"])) == plain


@pytest.mark.parametrize("name", ["priority", "webhook_url", "no_retry", "key", "promt"])
def test_what_only_the_queue_knows_is_refused_by_name(name):
    with pytest.raises(falq.ArgumentError, match=name) as caught:
        run_options({name: None})
    assert caught.value.argument == name
    assert "start_timeout" in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"start_timeout": 1}, {"hint": "a\nb"}, {"headers": {"Authorization": "x"}}]
)
def test_a_value_that_cannot_be_sent_is_refused(options):
    with pytest.raises(falq.ArgumentError):
        run_options(options)


@pytest.mark.parametrize("timeout", [0, -1, math.inf, math.nan, True, "1"])
def test_a_timeout_is_seconds(timeout):
    with pytest.raises(falq.ArgumentError, match="timeout"):
        check_timeout(timeout)


@pytest.mark.parametrize("timeout", [None, 1, 0.5])
def test_a_good_timeout_passes(timeout):
    assert check_timeout(timeout) is None


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "", "GET /", None, 7])
def test_a_method_is_one_that_apps_have(method):
    with pytest.raises(falq.ArgumentError, match="method"):
        check_method(method)


def test_a_method_may_be_small():
    assert check_method("get") == "GET"


@pytest.mark.parametrize("kind", [falq.TransportError, falq.TransportTimeoutError])
def test_a_lost_run_says_what_it_may_cost_and_keeps_its_kind(kind):
    error = lost_run(kind("it broke"), EndpointId.parse("acme/echo"), "r-1")
    assert type(error) is kind
    assert error.possibly_billed
    assert error.request_sent
    assert str(error).startswith("it broke; the run may go on at fal")
    assert (error.endpoint, error.request_id) == ("acme/echo", "r-1")
