"""Rows checked against the schemas of their endpoints, before anything is sent."""

from __future__ import annotations

import json

import pytest

import falq
from falq.batch import Batch
from falq.emulator import Emulator, Fault, Scenario

SCHNELL = "fal-ai/flux/schnell"
UPSCALER = "fal-ai/clarity-upscaler"
GOOD = {"prompt": "a tiny cute cat", "image_size": "square"}


@pytest.fixture
def scenario():
    return Scenario(speed=1000.0)


@pytest.fixture
async def emulator(scenario):
    async with Emulator(scenario) as emulator:
        yield emulator


def a_batch(emulator, *rows, **settings):
    return Batch(
        list(rows), gateway=emulator.gateway, endpoint=SCHNELL, validate=True, seed=1, **settings
    )


async def test_a_bad_row_refuses_the_batch_with_its_line_its_field_and_what_is_allowed(emulator):
    batch = a_batch(emulator, GOOD, GOOD | {"image_size": "huge", "steps": 4})
    with pytest.raises(falq.ArgumentError, match=r"1 bad row, nothing was sent") as caught:
        async with batch:
            raise AssertionError
    ((line, text),) = caught.value.problems
    assert line == "line 2"
    assert "image_size is 'huge'" in text
    assert "'square_hd'" in text
    assert "steps does not exist; did you mean 'num_inference_steps'?" in text
    assert emulator.stats().submits == 0


async def test_bad_rows_that_are_skipped_are_written_down_and_the_others_run(emulator, tmp_path):
    batch = a_batch(
        emulator, GOOD | {"steps": 4}, GOOD, on_bad_row="skip", out=tmp_path, download=False
    )
    async with batch:
        outcomes = [outcome async for outcome in batch]
    assert [outcome.id for outcome in outcomes] == ["row-000002"]
    assert batch.report.bad_count == 1
    (bad,) = map(json.loads, (tmp_path / "bad-rows.jsonl").read_text().splitlines())
    assert (bad["line"], bad["field"]) == (1, "steps")


async def test_each_schema_is_asked_for_once_however_many_rows_there_are(emulator):
    rows = [{"arguments": GOOD | {"seed": seed}} for seed in range(20)]
    rows += [{"endpoint": UPSCALER, "arguments": {"image_url": "https://example.com/cat.png"}}] * 20
    async with a_batch(emulator, *rows) as batch:
        assert (batch.report.count, batch.report.unchecked) == (40, ())
    assert emulator.stats().calls["catalogue"] == 2


async def test_a_local_file_counts_as_the_url_that_it_becomes(emulator, tmp_path):
    (tmp_path / "cat.png").write_bytes(b"no picture, and never read as one")
    row = {"endpoint": UPSCALER, "arguments": {"image_url@": str(tmp_path / "cat.png")}}
    async with a_batch(emulator, row) as batch:
        assert batch.report.count == 1
    wrong = {"endpoint": UPSCALER, "arguments": {"picture@": str(tmp_path / "cat.png")}}
    with pytest.raises(falq.ArgumentError, match="picture does not exist"):
        async with a_batch(emulator, wrong):
            raise AssertionError


async def test_an_endpoint_without_a_schema_is_named_and_its_rows_run(emulator):
    async with a_batch(emulator, {"endpoint": "acme/echo", "arguments": {"any": 1}}) as batch:
        assert batch.report.unchecked == ("acme/echo",)
        assert [outcome.result async for outcome in batch] == [{"any": 1}]


async def test_rows_that_cannot_be_read_are_told_before_any_schema_is_asked_for(emulator):
    with pytest.raises(falq.ArgumentError, match="endpoint cannot be used"):
        async with a_batch(emulator, GOOD, {"endpoint": "flux", "arguments": {}}):
            raise AssertionError
    assert not emulator.stats().calls


@pytest.mark.parametrize("scenario", [Scenario(faults=[Fault("json_error", "catalogue")])])
async def test_a_catalogue_that_cannot_be_read_stops_the_batch_before_anything_is_sent(emulator):
    with pytest.raises(falq.FalqError):
        async with a_batch(emulator, GOOD):
            raise AssertionError
    assert emulator.stats().submits == 0


async def test_without_schemas_typed_models_check_and_other_endpoints_are_refused(emulator):
    settings = {"gateway": emulator.maton, "validate": True}
    with pytest.raises(falq.ArgumentError, match="num_inference_steps"):
        async with Batch([GOOD | {"steps": 4}], endpoint=SCHNELL, **settings):
            raise AssertionError
    with pytest.raises(falq.UnsupportedError, match="acme/echo"):
        async with Batch([{"n": 1}], endpoint="acme/echo", **settings):
            raise AssertionError
