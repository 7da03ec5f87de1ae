from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from falq._core import logwindow
from falq._core.logwindow import LogWindow
from falq.model import LogEntry


def _lines(*numbers: int) -> tuple[LogEntry, ...]:
    return tuple(LogEntry(message=f"line {n}", timestamp=f"{n:09}") for n in numbers)


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(1, 50)), max_size=30))
def test_each_line_is_told_once_whatever_windows_come(windows):
    window = LogWindow()
    told = [
        entry
        for start, length in windows
        for entry in window.take_new(_lines(*range(start, start + length)))
    ]
    wanted = {n for start, length in windows for n in range(start, start + length)}
    assert len(told) == len(set(told))
    assert {entry.message for entry in told} == {f"line {n}" for n in wanted}


def test_a_window_that_moves_tells_only_what_is_new_in_order():
    window = LogWindow()
    assert window.take_new(_lines(1, 2, 3)) == _lines(1, 2, 3)
    assert window.take_new(_lines(2, 3, 4, 5)) == _lines(4, 5)
    assert window.take_new(_lines(4, 5)) == ()


def test_the_same_text_at_another_time_is_another_line():
    window = LogWindow()
    step = LogEntry(message="step", timestamp="1")
    again = LogEntry(message="step", timestamp="2")
    assert window.take_new((step, again)) == (step, again)


def test_doubled_lines_of_one_status_are_told_once():
    assert LogWindow().take_new(_lines(1, 1, 1)) == _lines(1)


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first():
    window = LogWindow()
    many = range(logwindow._REMEMBERED + 1)
    assert len(window.take_new(_lines(*many))) == len(many)
    assert window.take_new(_lines(1, len(many) - 1)) == ()
    assert window.take_new(_lines(0)) == _lines(0)
