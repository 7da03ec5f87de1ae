"""What is odd in the server's answers is told to the log, once each in a session."""

from __future__ import annotations

import logging

import pytest

import falq
from falq._core.messages import Reply
from falq._engine.oddities import MOST_TOLD, Oddities
from falq.emulator import Scenario
from falq.model import Completed, InProgress, Queued, Status
from falq.testing import LoopbackEmulator

OWN = "https://queue.example.com/fal-ai"


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.WARNING, "falq")
    return lambda: caplog.messages


def receipt(*addresses):
    fields = ", ".join(f'"status_url" : "{address}"' for address in addresses)
    return Reply(200, {}, f'{{"request_id": "one", {fields}}}'.encode())


def test_an_unknown_word_is_told_once_and_cannot_steer_a_terminal(told):
    oddities = Oddities(OWN)
    for status in (Queued(), InProgress(), Completed(), Status("DREAM\x1b[2J"), Status("WOKE")):
        for _ in range(3):
            oddities.see_status(status)
    first, _ = told()
    assert "DREAM" in first
    assert "\x1b" not in first


KNOWN = [
    "https://queue.example.com/fal-ai/fal-ai/flux/requests/one/status",
    "https://queue.fal.run/fal-ai/flux/requests/one/status",
    r"https:\/\/queue.fal.run\/fal-ai\/flux\/requests\/one\/status",
    "https://queue.falrun.com/x",
    "/fal-ai/flux",
    "",
]
FOREIGN = {
    "https://evil.example/fal-ai/flux": "https://evil.example ",
    r"https:\/\/evil.example\/x": "https://evil.example ",
    "http://queue.fal.run/x": "http://queue.fal.run ",
    "https://queue.fal.run@evil.example/x": "https://queue.fal.run@evil.example ",
    "https://queue.fal.run:8443/x": "https://queue.fal.run:8443 ",
}


@pytest.mark.parametrize("address", KNOWN)
def test_addresses_of_the_gateway_and_of_fal_are_not_told(told, address):
    Oddities(OWN).see_receipt(receipt(address))
    assert told() == []


@pytest.mark.parametrize("address", FOREIGN)
def test_a_foreign_address_is_told_once_for_its_host(told, address):
    oddities = Oddities(OWN)
    for tail in ("", "/two", "/three"):
        oddities.see_receipt(receipt(f"{address}{tail}", f"{address}{tail}"))
    (message,) = told()
    assert f"foreign address {FOREIGN[address]}" in message


def test_a_server_that_makes_up_new_words_fills_no_log(told):
    oddities = Oddities(OWN)
    for number in range(2 * MOST_TOLD):
        oddities.see_status(Status(f"WORD-{number}"))
    assert len(told()) == MOST_TOLD


async def test_a_session_tells_each_oddity_once(told):
    emulator = LoopbackEmulator(
        Scenario(
            run_s=5.0,
            unknown_state="DREAMING",
            advertised="foreign",
            foreign_url="https://evil.example",
        )
    )
    async with falq.Session(emulator.gateway, transport=emulator.transport()) as session:
        for _ in range(3):
            assert await session.subscribe("acme/echo", {"n": 1}) == {"n": 1}
    address, word = told()
    assert "https://evil.example" in address
    assert "DREAMING" in word
