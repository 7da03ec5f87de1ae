from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq import model
from falq.errors import ArgumentError, JobFailedError
from falq.model import EndpointId, Outcome, check_path_part, check_request_id

# Given, owner, alias, path, namespace: the table of fal-wire 2.1.
IDS = [
    ("fal-ai/flux/schnell", "fal-ai", "flux", "schnell", ""),
    ("fal-ai/fast-sdxl", "fal-ai", "fast-sdxl", "", ""),
    ("fal-ai/kling-video/v3/pro", "fal-ai", "kling-video", "v3/pro", ""),
    ("workflows/acme/my-flow", "acme", "my-flow", "", "workflows"),
    ("workflows/acme/my-flow/sub/x", "acme", "my-flow", "sub/x", "workflows"),
    ("comfy/acme/thing", "acme", "thing", "", "comfy"),
    ("110602490-sd", "110602490", "sd", "", ""),
    ("110602490-sd-turbo", "110602490", "sd-turbo", "", ""),
    ("fal-ai/flux/schnell/", "fal-ai", "flux", "schnell", ""),
    ("/fal-ai/flux", "fal-ai", "flux", "", ""),
]


@pytest.mark.parametrize("row", IDS, ids=[row[0] for row in IDS])
def test_every_form_of_an_id_is_read(row):
    text, owner, alias, path, namespace = row
    assert EndpointId.parse(text) == EndpointId(owner, alias, path, namespace)


@pytest.mark.parametrize("row", IDS, ids=[row[0] for row in IDS])
def test_an_id_read_again_from_its_full_form_is_the_same(row):
    endpoint = EndpointId.parse(row[0])
    assert EndpointId.parse(str(endpoint)) == endpoint
    assert endpoint.full.startswith(endpoint.app)


BAD = ["", "/", "lora", "comfy", "workflows", "workflows/acme", "123-", "-sd", "12a-sd", "a//b"]
BAD += ["fal-ai/../victim", "./flux", "fal-ai/flux/..", "fal-ai/flux?fal_webhook=x", "a/b#c"]
BAD += ["fal-ai/%2e%2e", "a/b c", "a/b\n", "a/b\x00", "ä/b", "a/b:c", "https://evil.example/a"]
BAD += ["a\\b/c", "a/b@c", "a/" + "x" * 600, "\uff11\uff12-sd"]


@pytest.mark.parametrize("text", BAD, ids=lambda text: repr(text)[:30])
def test_what_is_no_id_is_refused_and_shown_harmlessly(text):
    with pytest.raises(ArgumentError) as caught:
        EndpointId.parse(text)
    assert caught.value.argument == "endpoint"
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("value", [None, 7, b"fal-ai/flux", ["fal-ai/flux"]], ids=repr)
def test_an_id_of_another_type_is_refused(value):
    with pytest.raises(ArgumentError, match="must be text"):
        EndpointId.parse(value)


@given(st.text(max_size=30) | st.from_regex(r"[a-z./%?#-]{1,20}", fullmatch=True))
def test_no_text_leads_out_of_its_place_in_a_path(text):
    try:
        endpoint = EndpointId.parse(text)
    except ArgumentError:
        return
    parts = endpoint.full.split("/")
    assert not {"", ".", ".."} & set(parts)
    assert not set("?#%\\ ") & set(endpoint.full)
    assert len(endpoint.app.split("/")) == (3 if endpoint.namespace else 2)


@pytest.mark.parametrize(
    "request_id",
    ["", ".", "..", "a/b", "a b", "a?b", "%2e", "a\n", "ä", "x" * 513, None, 7],
    ids=repr,
)
def test_what_is_no_request_id_is_refused(request_id):
    with pytest.raises(ArgumentError) as caught:
        check_request_id(request_id)
    assert caught.value.argument == "request_id"


def test_a_request_id_is_returned_as_it_is():
    assert check_request_id("019f72e4-5e1e_7143.8~a") == "019f72e4-5e1e_7143.8~a"


@pytest.mark.parametrize("part", ["a/b", "../..", "/"])
def test_a_part_of_a_path_is_one_part(part):
    with pytest.raises(ArgumentError):
        check_path_part(part, what="app")


@pytest.mark.parametrize(
    "kind",
    [kind for kind in vars(model).values() if attrs.has(kind) and kind.__module__ == "falq"],
    ids=lambda kind: kind.__name__,
)
def test_the_words_of_the_vocabulary_cannot_be_changed(kind):
    value = object.__new__(kind)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, attrs.fields(kind)[0].name, "changed")


def test_an_outcome_is_a_success_unless_it_has_an_error():
    assert Outcome(index=0, input={}).is_success
    assert not Outcome(index=0, input={}, error=JobFailedError("x")).is_success


def test_results_and_prompts_stay_out_of_reprs():
    outcome = Outcome(index=0, input={}, result={"images": "private"})
    submission = model.Submission(
        endpoint=EndpointId.parse("a/b"),
        body=b"private",
        options=model.SubmitOptions(),
        intent_id="0",
    )
    assert "private" not in repr(outcome) + repr(submission)
