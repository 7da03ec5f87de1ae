"""Read server-sent events from bytes that come in any pieces.

Owns the line and field rules of the format (WHATWG HTML, "Server-sent events"),
and the limit on what one event may hold. It never reads meaning into an event's
data and knows no connection: `_engine.streams` and `live.output` feed it.

Rules:
    1. A line ends with CR LF, LF or CR, also where the two bytes of one end come
       in different pieces.
    2. Lines are told apart as bytes and decoded whole, so that a character cut in
       two by the network arrives whole. What is no UTF-8 becomes U+FFFD.
    3. Comments and the fields `id` and `retry` are dropped: fal sends none of
       these fields, and nothing here reconnects by itself.
    4. An event without data is none, whatever else it has.
"""

from __future__ import annotations

from attrs import define, field, frozen

from falq.errors import ResponseTooLargeError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@frozen
class ServerEvent:
    """One event.

    Attributes:
        data: Its data lines, joined by line feeds.
        name: Its `event` field; empty if it has none, as all of fal's.
    """

    data: str
    name: str = ""


@define
class EventReader:
    r"""Turns the bytes of one reply into events.

    Args:
        limit_bytes: Bytes that one event may hold, comments included.

    Example:
        >>> reader = EventReader(limit_bytes=1000)
        >>> reader.feed(b': ping\n\ndata: {"n"')
        []
        >>> reader.feed(b': 1}\n\n')
        [ServerEvent(data='{"n": 1}', name='')]
    """

    limit_bytes: int = field(kw_only=True)
    _rest: bytearray = field(init=False, factory=bytearray)
    _data: list[str] = field(init=False, factory=list)
    _name: str = field(init=False, default="")
    _held_bytes: int = field(init=False, default=0)
    _is_at_start: bool = field(init=False, default=True)
    _was_cr: bool = field(init=False, default=False)

    def feed(self, piece: bytes) -> list[ServerEvent]:
        """Take in what came; return the events that it completes, in order.

        Raises:
            ResponseTooLargeError: An event is above the limit. The reader is of no
                more use.
        """
        if self._was_cr and piece:
            # The second half of an end of line whose first half came before.
            piece = piece.removeprefix(b"\n")
            self._was_cr = False
        # What was left has no end of line in it: it need not be looked through again.
        start = len(self._rest)
        self._rest += piece
        if self._is_at_start:
            if len(self._rest) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(self._rest):
                return []
            if self._rest.startswith(_BYTE_ORDER_MARK):
                del self._rest[: len(_BYTE_ORDER_MARK)]
            self._is_at_start, start = False, 0
        return self._read_lines(start)

    def finish(self) -> ServerEvent | None:
        """Return the event that a good end of the reply left without its blank line.

        The format drops it. Its bytes are all there, though, if the reply ended in
        good order, and the last event of an output stream is the one that counts.
        """
        if self._rest:
            self._read_line(bytes(self._rest))
            self._rest.clear()
        return self._take_event()

    def _read_lines(self, start: int) -> list[ServerEvent]:
        events = []
        begin = 0
        for end, after in self._find_ends(start):
            line = bytes(self._rest[begin:end])
            self._hold(after - begin)
            begin = after
            if line:
                self._read_line(line)
                continue
            event = self._take_event()
            if event is not None:
                events.append(event)
        del self._rest[:begin]
        if self._held_bytes + len(self._rest) > self.limit_bytes:
            self._refuse()
        return events

    def _find_ends(self, start: int) -> list[tuple[int, int]]:
        """Return where each whole line ends, and where the next one begins."""
        ends: list[tuple[int, int]] = []
        rest, at = self._rest, start
        while True:
            found = [place for place in (rest.find(b"\r", at), rest.find(b"\n", at)) if place >= 0]
            if not found:
                return ends
            end = min(found)
            at = end + 1
            if rest[end] == 0x0D:
                self._was_cr = at == len(rest)
                if rest[at : at + 1] == b"\n":
                    at += 1
            ends.append((end, at))

    def _hold(self, size: int) -> None:
        self._held_bytes += size
        if self._held_bytes > self.limit_bytes:
            self._refuse()

    def _refuse(self) -> None:
        raise ResponseTooLargeError(
            f"an event of a stream is larger than {self.limit_bytes} bytes; raise the limit in "
            "CallLimits if that is right"
        )

    def _read_line(self, line: bytes) -> None:
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value

    def _take_event(self) -> ServerEvent | None:
        data, name = self._data, self._name
        self._data, self._name, self._held_bytes = [], "", 0
        return ServerEvent("\n".join(data), name) if data else None
