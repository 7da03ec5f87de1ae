"""`falq models` against an emulator: as a process, and what a reader at a terminal sees."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from falq.cli.failures import FAILED, OK
from falq.cli.models import ModelWords, models
from falq.cli.output import Output
from falq.emulator import Fault, Scenario
from falq.errors import ArgumentError, AuthenticationError, RequestNotFoundError

SCHNELL = "fal-ai/flux/schnell"


class OnTerminal(Output):
    """Output for a reader, whatever stdout is."""

    @property
    def is_pretty(self) -> bool:
        return True


@pytest.fixture
def look_up(reach, monkeypatch, capsys):
    """Run the command in this process; return its code and what it printed."""
    for name, value in reach.items():
        monkeypatch.setenv(name, value)

    async def run(action, *words, output=None, **options):
        plain = {"category": None, "status": None, "limit": 20, "to": None}
        code = await models(
            ModelWords(action=action, words=words, **plain | options), output or Output()
        )
        return code, capsys.readouterr().out

    return run


@pytest.mark.slow
async def test_search_prints_a_line_for_each_model_that_fits(run_falq):
    ran = await run_falq("models", "search", "picture", "--category", "text-to-image")
    assert ran.code == 0, ran
    assert [line["endpoint"] for line in ran.lines] == [
        "fal-ai/fast-sdxl",
        "fal-ai/flux/dev",
        SCHNELL,
    ]


@pytest.mark.slow
async def test_a_model_that_is_not_there_is_exit_1(run_falq):
    ran = await run_falq("models", "show", "acme/echo", "--json")
    assert (ran.code, ran.data["error"]["kind"]) == (1, "RequestNotFoundError")
    assert "falq models search" in ran.err


@pytest.mark.slow
async def test_a_guides_scale_is_refused_before_the_submit(run_falq, emulator):
    words = ("fal-ai/clarity-upscaler", "image_url=https://x.example/y.png", "scale:=2")
    ran = await run_falq("subscribe", *words, "--validate")
    assert (ran.code, ran.out) == (2, ""), ran
    assert "did you mean 'upscale_factor'?" in ran.err
    assert emulator.stats().submits == 0


async def test_a_search_can_be_limited_and_may_find_nothing(look_up):
    code, out = await look_up("search", limit=2)
    assert (code, len(out.splitlines())) == (OK, 2)
    assert await look_up("search", "no", "such", "model") == (OK, "")


async def test_show_prints_what_the_catalogue_tells(look_up):
    code, out = await look_up("show", SCHNELL)
    told = json.loads(out)
    assert (code, told["category"], told["status"]) == (OK, "text-to-image", "active")
    assert told["more"]["pinned"] is False


async def test_schema_prints_complete_schemas_of_input_and_output(look_up):
    _, out = await look_up("schema", SCHNELL)
    told = json.loads(out)
    assert told.keys() == {"endpoint", "input", "output"}
    [source] = [part for name, part in told["input"]["$defs"].items() if "Input" in name]
    assert source["properties"]["num_inference_steps"]["maximum"] == 12


async def test_price_prints_what_fal_tells_and_fails_for_what_it_does_not(look_up):
    code, out = await look_up("price", SCHNELL, "acme/echo")
    price = {"unit_price": 0.003, "unit": "megapixels", "currency": "USD"}
    assert (code, json.loads(out)) == (FAILED, {"endpoint": SCHNELL} | price)


async def test_a_stub_is_printed_or_written_and_nothing_else_is_written_over(look_up, tmp_path):
    _, printed = await look_up("stub", SCHNELL)
    classes = {node.name for node in ast.parse(printed).body if isinstance(node, ast.ClassDef)}
    assert {"FluxSchnell", "FluxSchnellOutput"} <= classes
    stub, mine = tmp_path / "schnell.py", tmp_path / "mine.py"
    for _ in range(2):
        assert await look_up("stub", SCHNELL, to=stub) == (OK, "")
    assert stub.read_text() == printed
    mine.write_text("precious = 1\n")
    with pytest.raises(ArgumentError, match="no stub"):
        await look_up("stub", SCHNELL, to=mine)
    assert mine.read_text() == "precious = 1\n"
    # Its end would never come.
    with pytest.raises(ArgumentError, match="no stub"):
        await look_up("stub", SCHNELL, to=Path("/dev/zero"))


async def test_a_reader_gets_columns(look_up):
    output = OnTerminal()
    _, found = await look_up("search", "flux", output=output)
    assert found.splitlines()[-1].split()[:2] == [SCHNELL, "text-to-image"]
    _, shown = await look_up("show", SCHNELL, output=output)
    assert "category     text-to-image" in shown
    _, fields = await look_up("schema", SCHNELL, output=output)
    assert "num_inference_steps" in fields
    assert "integer 1 to 12" in fields
    assert "default 4" in fields
    _, price = await look_up("price", SCHNELL, output=output)
    assert price.rstrip().endswith("0.003 USD for one of megapixels")


@pytest.mark.parametrize(
    ("action", "words"),
    [("show", ()), ("schema", ("a/b", "c/d")), ("price", ()), ("stub", ()), ("show", ("flux",))],
)
async def test_words_that_are_none_are_refused_before_any_call(look_up, emulator, action, words):
    with pytest.raises(ArgumentError):
        await look_up(action, *words)
    assert emulator.stats().calls == {}


async def test_a_model_without_a_schema_has_no_stub(look_up):
    with pytest.raises(RequestNotFoundError):
        await look_up("stub", "acme/echo")


@pytest.mark.parametrize(
    "scenario", [Scenario(faults=[Fault("json_error", "catalogue", status_code=403)])]
)
async def test_a_key_without_the_permission_is_told(look_up):
    with pytest.raises(AuthenticationError):
        await look_up("search")
