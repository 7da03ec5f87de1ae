"""Settings: their file form and what they refuse."""

from __future__ import annotations

import json

import pytest

from falq.emulator import Fault, Scenario
from falq.errors import ConfigError

TOML = """
runners = 3
speed = 20
advertised = "fal"
keys = ["a:b"]

[[faults]]
kind = "rate_limited"
verb = "status"
nth = [2, 4]
retry_after_s = 1

[[faults]]
kind = "reset"
verb = "submit"
when = "after"
probability = 0.5
"""
SAME = Scenario(
    runners=3,
    speed=20.0,
    advertised="fal",
    keys=("a:b",),
    faults=(
        Fault("rate_limited", "status", nth=(2, 4), retry_after_s=1.0),
        Fault("reset", "submit", when="after", probability=0.5),
    ),
)


def test_a_toml_file_gives_the_scenario_that_it_says(tmp_path):
    path = tmp_path / "scenario.toml"
    path.write_text(TOML)
    assert Scenario.load(path) == SAME


def test_a_json_file_gives_the_scenario_that_it_says(tmp_path):
    path = tmp_path / "scenario.json"
    path.write_text(json.dumps({"faults": [{"kind": "cut", "nth": 3}], "seed": 9}))
    assert Scenario.load(path) == Scenario(seed=9, faults=(Fault("cut", nth=3),))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("runers = 3", ["runers (did you mean runners?)", "falq.emulator.Scenario"]),
        (
            '[[faults]]\nkind = "reset"\nverbs = "any"',
            ["verbs (did you mean verb?)", "falq.emulator.Fault"],
        ),
        ('[[faults]]\nkind = "explode"', ["kind", "explode"]),
        ('runners = "3"', ["runners", "expected int"]),
        ('is_locked = "no"', ["is_locked", "expected bool"]),
        ("speed = true", ["speed", "expected a number"]),
        ("speed = 0", ["speed"]),
        ("early_result = 500", ["early_result"]),
        ('advertised = "nowhere"', ["advertised", "nowhere"]),
        ("not toml", ["scenario.toml", "no TOML"]),
    ],
)
def test_a_wrong_file_is_refused_with_the_name_of_what_is_wrong(tmp_path, text, named):
    path = tmp_path / "scenario.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Scenario.load(path)
    for word in named:
        assert word in str(caught.value)


def test_a_file_that_is_not_there_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.json: No such file"):
        Scenario.load(tmp_path / "nothing.json")


def test_a_list_is_not_a_scenario(tmp_path):
    path = tmp_path / "scenario.json"
    path.write_text("[]")
    with pytest.raises(ConfigError, match="table"):
        Scenario.load(path)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Scenario, {"advertised": "nowhere"}),
        (Scenario, {"runners": -1}),
        (Fault, {"kind": "explode"}),
        (Fault, {"kind": "reset", "verb": "submitt"}),
        (Fault, {"kind": "reset", "probability": 1.5}),
        (Fault, {"kind": "reset", "every": 0}),
    ],
)
def test_a_value_outside_its_range_is_refused_in_code_too(kind, settings):
    with pytest.raises(ValueError, match="must be"):
        kind(**settings)


def test_keys_do_not_show_in_the_repr():
    scenario = Scenario(keys=("canary-1:x",), maton_keys=("canary-2",))
    assert "canary" not in repr(scenario)


@pytest.mark.parametrize(
    ("kind", "is_before"),
    [("reset", True), ("nginx", True), ("cut", False), ("stall", False), ("id_only", False)],
)
def test_a_fault_has_a_natural_place_and_can_be_moved(kind, is_before):
    assert Fault(kind).is_before is is_before
    assert Fault(kind, when="after").is_before is False
    assert Fault(kind, when="before").is_before is True
