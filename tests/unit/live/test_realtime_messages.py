from __future__ import annotations

import math
import subprocess
import sys

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq._core.realtime import Result
from falq.errors import ArgumentError, WireError
from falq.live.realtime_messages import make_codec

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


@given(st.dictionaries(st.text(), values))
def test_a_message_in_msgpack_survives_the_way_there_and_back(message):
    codec = make_codec("msgpack")
    frame = codec.write(message)
    assert isinstance(frame, bytes)
    assert codec.read(frame) == Result(message)


def test_a_message_in_json_is_a_text_frame():
    frame = make_codec("json").write({"prompt": "ä"})
    assert frame == '{"prompt":"ä"}'


def test_both_encodings_are_read_whatever_is_sent():
    for encoding in ("json", "msgpack"):
        codec = make_codec(encoding)
        assert codec.read(msgpack.packb({"a": b"x"})) == Result({"a": b"x"})
        assert codec.read('{"a":1}') == Result({"a": 1})
        assert codec.read(msgpack.packb([1, 2])) == Result({"payload": [1, 2]})


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("msgpack", {"a": object()}),
        ("msgpack", {"a": 2**70}),
        ("msgpack", "text"),
        ("msgpack", None),
        ("json", {"a": b"bytes"}),
        ("json", {"a": math.nan}),
        ("json", [1]),
    ],
)
def test_what_cannot_be_encoded_is_refused_before_anything_is_sent(encoding, message):
    with pytest.raises(ArgumentError, match="nothing was sent") as caught:
        make_codec(encoding).write(message)
    assert caught.value.argument == "arguments"


@given(st.binary())
def test_no_binary_frame_can_break_the_reader(frame):
    try:
        meaning = make_codec("msgpack").read(frame)
    except WireError:
        return
    assert isinstance(meaning, Result)


def test_a_caller_may_bring_both_halves_of_an_encoding():
    codec = make_codec(
        "msgpack", encode=lambda value: repr(value).encode(), decode=lambda frame: {"n": len(frame)}
    )
    assert codec.write({"a": 1}) == b"{'a': 1}"
    assert codec.read(b"1234") == Result({"n": 4})


def test_an_unknown_encoding_is_refused():
    with pytest.raises(ArgumentError) as caught:
        make_codec("yaml")
    assert caught.value.argument == "encoding"


# None among the loaded modules is how Python says that one cannot be imported.
WITHOUT = """
import sys
sys.modules["msgpack"] = None
from falq import ConfigError
from falq.live.realtime_messages import make_codec
print(make_codec("json").write({"a": 1}))
try:
    make_codec("msgpack")
except ConfigError as error:
    print(error)
"""


@pytest.mark.slow
def test_without_msgpack_the_error_names_the_extra_and_json_still_works():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith('{"a":1}')
    assert "pip install 'falq[realtime]'" in done.stdout
