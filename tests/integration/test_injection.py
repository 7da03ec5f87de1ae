"""What would change a URL or a header is refused before anything is sent."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import falq
from falq.emulator import Emulator, Scenario

EVIL = ["?", "#", "%", "\\", "//", "/../", "%2e%2e", "%2f", "@", ":", " ", "\t", "\r\n"]
EVIL += ["\x00", "\x1b[2J", "\u202e", "\u00e9", "\ud800", "?fal_webhook=http://attacker/", "\n"]

plain = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789-._", min_size=1, max_size=12)
evil = st.sampled_from(EVIL)


@st.composite
def spoiled(draw, text):
    """Return `text` with one harmful piece in it."""
    whole = draw(text)
    place = draw(st.integers(0, len(whole)))
    return whole[:place] + draw(evil) + whole[place:]


endpoints = st.tuples(plain, plain).map("/".join)
bad_endpoints = spoiled(st.tuples(plain, plain).map("/".join)).filter(
    # Two slashes at an end are outer slashes, which are dropped.
    lambda text: text.strip("/").count("//") or "//" not in text
)
bad_ids = st.one_of(
    spoiled(plain), st.sampled_from(["", ".", "..", "a/b", "../x", "/", "x" * 513, None, 7])
)
header_text = st.one_of(
    spoiled(plain).filter(lambda text: not (text.isascii() and text.isprintable())),
    st.sampled_from(["a\r\nX-Evil: 1", "a\nb", "\x00", "\x7f", "\u00e9"]),
)
with_fixtures = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
async def quiet():
    """A session on an emulator that must hear nothing."""
    async with Emulator(Scenario(run_s=0)) as emulator:
        async with falq.Session(emulator.gateway) as session:
            yield session
        assert emulator.stats().connections == 0


@pytest.mark.slow
@with_fixtures
@given(endpoint=bad_endpoints)
async def test_an_endpoint_that_would_change_the_url_is_refused(quiet, endpoint):
    for call in (quiet.submit, quiet.subscribe):
        with pytest.raises(falq.ArgumentError):
            await call(endpoint, {})
    with pytest.raises(falq.ArgumentError):
        quiet.map(endpoint, [{}])
    with pytest.raises(falq.ArgumentError):
        quiet.handle(endpoint, "r-1")


@pytest.mark.slow
@with_fixtures
@given(path=spoiled(plain).filter(lambda text: "//" not in text))
async def test_a_path_that_would_change_the_url_is_refused(quiet, path):
    with pytest.raises(falq.ArgumentError):
        await quiet.submit("acme/echo", {}, path=path)


@pytest.mark.slow
@with_fixtures
@given(request_id=bad_ids)
async def test_a_request_id_that_is_no_single_path_part_is_refused(quiet, request_id):
    for call in (quiet.status, quiet.result, quiet.cancel):
        with pytest.raises(falq.ArgumentError):
            await call("acme/echo", request_id)
    with pytest.raises(falq.ArgumentError):
        quiet.handle("acme/echo", request_id)


@pytest.mark.slow
@with_fixtures
@given(text=header_text)
async def test_text_that_would_break_out_of_a_header_is_refused(quiet, text):
    for options in (
        {"hint": text},
        {"priority": text},
        {"headers": {"X-Mine": text}},
        {"headers": {text: "mine"}},
        {"tags": {"mine": text}},
        {"tags": {text: "mine"}},
    ):
        with pytest.raises(falq.ArgumentError):
            await quiet.submit("acme/echo", {}, **options)


@pytest.mark.parametrize(
    "name", ["Authorization", "authorization", "Host", "Content-Length", "Transfer-Encoding"]
)
async def test_a_header_that_falq_sets_itself_is_refused(quiet, name):
    with pytest.raises(falq.ArgumentError):
        await quiet.submit("acme/echo", {}, headers={name: "mine"})


@pytest.mark.parametrize(
    "options",
    [
        {"start_timeout": 1},
        {"start_timeout": float("nan")},
        {"start_timeout": float("inf")},
        {"client_timeout": 0},
        {"client_timeout": float("nan")},
        {"webhook_url": "file:///etc/passwd"},
        {"webhook_url": "not a url"},
        {"webhook_url": "https://example.com/\r\nX-Evil: 1"},
        {"webhook_url": "https://example.com/a b"},
        {"max_queue_length": 0},
        {"max_queue_length": 1.5},
        {"tags": {"fal.x": "1"}},
        {"tags": {"a": "b,c=d"}},
        {"lifecycle": falq.ObjectLifecycle(expiration_s=0)},
        {"no_such_option": 1},
    ],
    ids=lambda one: "-".join(f"{name}={value}" for name, value in one.items())[:40],
)
async def test_an_option_that_cannot_be_sent_is_refused(quiet, options):
    with pytest.raises(falq.ArgumentError):
        await quiet.submit("acme/echo", {}, **options)


@pytest.mark.parametrize(
    "arguments", [{"a": float("nan")}, {"a": b"x"}, {"a": object()}, [1], "text", 7, {"a": {1, 2}}]
)
async def test_arguments_that_json_has_not_are_refused(quiet, arguments):
    with pytest.raises(falq.ArgumentError):
        await quiet.submit("acme/echo", arguments)


@pytest.mark.slow
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    parts=st.lists(st.text(alphabet="ab.~-_/?#%@: \\\n\u00e9", max_size=5), min_size=1, max_size=4)
)
async def test_any_endpoint_is_refused_or_arrives_as_it_was_given(emulator_and_session, parts):
    emulator, session = emulator_and_session
    endpoint = "/".join(parts)
    before = emulator.stats().submits
    try:
        handle = await session.submit(endpoint, {})
    except falq.ArgumentError:
        assert emulator.stats().submits == before
    else:
        assert emulator.stats().submits == before + 1
        arrived = emulator._app.queue.jobs[handle.request_id].order.endpoint
        assert arrived == endpoint.strip("/")


@pytest.fixture
async def emulator_and_session():
    async with (
        Emulator(Scenario(run_s=0)) as emulator,
        falq.Session(emulator.gateway) as session,
    ):
        yield emulator, session
