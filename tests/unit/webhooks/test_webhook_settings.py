"""What a session and the extra ask for before anything is sent."""

from __future__ import annotations

import subprocess
import sys

import pytest

import falq

GATEWAY = falq.Fal(key="a:b")


@pytest.mark.parametrize(
    "url",
    ["https://example.com", "https://example.com/fal/", "http://127.0.0.1:80/x", "http://[::1]/"],
)
def test_an_address_that_fal_can_call_is_taken(url):
    assert falq.Session(GATEWAY, webhook_base_url=url)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/fal",
        "ftp://example.com",
        "example.com/fal",
        "https://",
        "https://u:p@example.com/",
        "https://example.com/?a=1",
        "https://example.com/#x",
        "https://example.com/a b",
        "https://example.com/\n",
        "https://exämple.com/",
        "https://[::1/",
        "",
        7,
    ],
)
def test_any_other_address_is_refused_by_the_setting_s_name(url):
    with pytest.raises(falq.ConfigError, match="webhook_base_url") as caught:
        falq.Session(GATEWAY, webhook_base_url=url)
    assert caught.value.setting == "webhook_base_url"


WITHOUT = """
import sys
sys.modules["cryptography"] = None
import falq
from falq.webhooks import WebhookReceiver, verify
from falq.emulator.webhooks import sign

for call in (WebhookReceiver, lambda: sign("r", b"", at=0, seed="0")):
    try:
        call()
    except falq.ConfigError as error:
        print(error)
"""


@pytest.mark.slow
def test_a_missing_extra_is_named_with_its_command():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("pip install 'falq[webhooks]'") == 2


@pytest.mark.slow
def test_a_session_and_an_emulator_load_no_cryptography():
    rooms = "falq.session, falq.emulator, falq.webhooks"
    code = f"import sys, {rooms}; print('cryptography' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
