from __future__ import annotations

import pytest

from falq._core.answer import read_object
from falq._core.messages import Reply
from falq.errors import WireError
from falq.model import EndpointId


def test_a_json_object_is_read():
    assert read_object(Reply(200, {}, b'{"n": 1}'), doing="count", advice="wait") == {"n": 1}


@pytest.mark.parametrize("body", [b"[1]", b"", b"<html>", b"\xff"])
def test_anything_else_is_told_with_its_start_and_what_to_do(body):
    with pytest.raises(WireError, match=r"could not count: .* no JSON object; wait") as caught:
        read_object(Reply(200, {}, body), doing="count", advice="wait", retryable=True)
    error = caught.value
    assert (error.status_code, error.retryable, error.endpoint) == (200, True, None)
    assert error.excerpt == body.decode("utf-8", "replace")


def test_the_endpoint_that_it_is_about_is_named():
    target = EndpointId.parse("acme/echo")
    with pytest.raises(WireError) as caught:
        read_object(Reply(200, {}, b"1"), doing="count", advice="wait", endpoint=target)
    assert (caught.value.endpoint, caught.value.retryable) == ("acme/echo", False)
