from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq._core.sse import EventReader, ServerEvent
from falq.errors import ResponseTooLargeError

TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


def read(*pieces: bytes, limit: int = 10_000) -> list[ServerEvent]:
    reader = EventReader(limit_bytes=limit)
    return [event for piece in pieces for event in reader.feed(piece)]


def cut(body: bytes, places: list[int]) -> list[bytes]:
    """Cut a body at places; an empty piece comes where one is named twice."""
    marks = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(marks)]


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[ServerEvent]]:
    """Return a stream as a server may write it, and the events that it holds."""
    end = draw(ENDS)
    text, events = draw(st.sampled_from(["", "\ufeff"])), []
    for _ in range(draw(st.integers(0, 5))):
        if draw(st.booleans()):
            text += f": {draw(TEXT)}{end}{draw(st.sampled_from(['', end]))}"
        lines = draw(st.lists(TEXT, min_size=1, max_size=3))
        name = draw(st.sampled_from(["", "error"]))
        if name:
            text += f"event: {name}{end}"
        text += "".join(f"data: {line}{end}" for line in lines) + end
        events.append(ServerEvent("\n".join(lines), name))
    return text.encode(), events


@given(streams(), st.lists(st.integers(0, 10_000), max_size=30))
def test_the_events_are_the_same_however_the_bytes_are_cut(stream, places):
    body, events = stream
    assert read(*cut(body, places)) == events


@given(streams())
def test_the_events_are_the_same_byte_by_byte(stream):
    body, events = stream
    assert read(*(bytes([byte]) for byte in body)) == events


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=10))
def test_any_bytes_give_the_same_events_whole_and_in_pieces(body, places):
    assert read(*cut(body, places)) == read(body)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=10), st.integers(1, 50))
def test_no_event_is_ever_above_the_limit(body, places, limit):
    reader = EventReader(limit_bytes=limit)
    try:
        for piece in cut(body, places):
            # Broken bytes grow: each becomes a character of three.
            assert all(len(event.data) <= limit for event in reader.feed(piece))
    except ResponseTooLargeError:
        assert len(body) > limit


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b"data: one\n\n", ["one"]),
        (b"data:one\n\n", ["one"]),
        (b"data:  one\n\n", [" one"]),
        (b"data: one\ndata: two\n\n", ["one\ntwo"]),
        (b"data\n\n", [""]),
        (b"data: a: b\n\n", ["a: b"]),
        (b": ping\n\ndata: one\n\n", ["one"]),
        (b"id: 7\nretry: 100\nother: x\ndata: one\n\n", ["one"]),
        (b"event: quiet\n\ndata: one\n\n", ["one"]),
        (b"data: one\r\n\r\ndata: two\r\r", ["one", "two"]),
        (b"\xef\xbb\xbfdata: one\n\n", ["one"]),
        (b"data: \xff\xfe\n\n", ["\ufffd\ufffd"]),
        (b"data: one\n", []),
        (b"\n\n\n", []),
    ],
)
def test_each_rule_of_the_format(body, data):
    assert [event.data for event in read(body)] == data


def test_the_name_of_an_event_is_its_own_and_not_that_of_the_next():
    found = read(b"event: error\ndata: 1\n\ndata: 2\n\n")
    assert found == [ServerEvent("1", "error"), ServerEvent("2")]


def test_a_character_cut_in_two_arrives_whole():
    body = "data: ä€😀\n\n".encode()
    for place in range(len(body)):
        assert read(body[:place], body[place:]) == [ServerEvent("ä€😀")]


def test_a_line_end_cut_in_two_is_one_line_end():
    assert read(b"data: one\r", b"\ndata: two\r", b"\n\r", b"\n") == [ServerEvent("one\ntwo")]


def test_an_end_without_its_blank_line_gives_the_last_event_to_who_asks():
    reader = EventReader(limit_bytes=100)
    assert reader.feed(b"data: one\ndata: two") == []
    assert reader.finish() == ServerEvent("one\ntwo")
    assert reader.finish() is None


@pytest.mark.parametrize("body", [b"data: 0123456789\n\n", b"data: 0123456789", b": 0123456789012"])
def test_an_event_above_the_limit_is_refused(body):
    with pytest.raises(ResponseTooLargeError, match="larger than 12 bytes"):
        read(body, limit=12)


def test_many_small_events_pass_a_small_limit():
    assert len(read(b"data: 1\n\n" * 1000, limit=12)) == 1000
