"""Messages of a realtime socket as frames, and back.

Owns the two encodings: msgpack in binary frames, as fal's apps speak it, and
JSON in text frames for apps that take it. It never sends. The package msgpack is
an extra, and is asked for when a socket is made, not at its first message.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Literal, TypeAlias

from attrs import frozen

from falq._core.realtime import Frame, Result, as_message, read_text
from falq.errors import ArgumentError, ConfigError, WireError

Encoding: TypeAlias = Literal["msgpack", "json"]
Encode: TypeAlias = Callable[[Any], bytes]
Decode: TypeAlias = Callable[[bytes], Any]


@frozen
class MessageCodec:
    """How one socket's messages are written and read.

    Attributes:
        encode: Makes a frame of a message: bytes for a binary one, text for a text one.
        decode: Makes a value of a binary frame.
    """

    encode: Callable[[Any], bytes | str]
    decode: Decode

    def write(self, arguments: Mapping[str, Any]) -> bytes | str:
        """Return the frame of a message.

        Raises:
            ArgumentError: It cannot be encoded; nothing was sent.
        """
        if not isinstance(arguments, Mapping):
            raise ArgumentError(
                f"a message is a mapping of the input's names to values, got "
                f"{type(arguments).__name__}; nothing was sent",
                argument="arguments",
            )
        try:
            frame = self.encode(dict(arguments))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ArgumentError(
                f"the message cannot be encoded ({error}); nothing was sent", argument="arguments"
            ) from None
        return frame

    def read(self, frame: bytes | str) -> Frame:
        """Return what a frame means.

        Raises:
            WireError: A binary frame cannot be decoded.
        """
        if isinstance(frame, str):
            return read_text(frame)
        try:
            value = self.decode(frame)
        except Exception as error:  # noqa: BLE001  a decoder may be the user's own
            kind = type(error).__name__
        else:
            return Result(as_message(value))
        raise WireError(f"a message of {len(frame)} bytes cannot be decoded ({kind})")


def make_codec(
    encoding: Encoding, *, encode: Encode | None = None, decode: Decode | None = None
) -> MessageCodec:
    """Return the codec of an encoding.

    Args:
        encoding: `"msgpack"`, or `"json"`: what is sent. Both are read.
        encode: Writes messages instead, into binary frames.
        decode: Reads binary frames instead.

    Raises:
        ArgumentError: `encoding` is none of the two words.
        ConfigError: The package msgpack is needed and not installed.
    """
    if encoding not in ("msgpack", "json"):
        raise ArgumentError("encoding is 'msgpack' or 'json'", argument="encoding")
    if encoding == "json" and encode is None:
        return MessageCodec(_dump_json, decode or _unpack_if_there)
    if encode is not None and decode is not None:
        return MessageCodec(encode, decode)
    msgpack = _load_msgpack()
    return MessageCodec(encode or msgpack.packb, decode or msgpack.unpackb)


def _dump_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _unpack_if_there(frame: bytes) -> Any:
    return _load_msgpack().unpackb(frame)


def _load_msgpack() -> ModuleType:
    try:
        return importlib.import_module("msgpack")
    except ImportError:
        raise ConfigError(
            "realtime messages need the package msgpack: pip install 'falq[realtime]' "
            "(or encoding='json', where the app takes JSON)",
            setting="encoding",
        ) from None
