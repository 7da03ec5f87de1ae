"""Which addresses and URLs a download may use."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.errors import ArgumentError
from falq.media.addresses import check_media_url, is_loopback_address, is_public_address

CLOSED = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
    "::ffff:127.0.0.0/104",
    "::ffff:10.0.0.0/104",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "2001::/32",
    "2001:db8::/32",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
]


@given(st.sampled_from(CLOSED), st.floats(0, 1, exclude_max=True))
def test_no_address_of_a_closed_range_is_public(text, place):
    network = ipaddress.ip_network(text)
    assert not is_public_address(str(network[int(place * network.num_addresses)]))


@pytest.mark.parametrize("text", CLOSED)
def test_both_ends_of_a_closed_range_are_not_public(text):
    network = ipaddress.ip_network(text)
    assert not is_public_address(str(network[0]))
    assert not is_public_address(str(network[-1]))


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111"])
def test_an_ordinary_address_is_public(address):
    assert is_public_address(address)
    assert not is_loopback_address(address)


@pytest.mark.parametrize("text", ["", "localhost", "0x7f000001", "fe80::1%eth0", "1.1.1"])
def test_what_is_no_plain_address_is_not_public(text):
    assert not is_public_address(text)
    assert not is_loopback_address(text)


@pytest.mark.parametrize("url", ["https://v3.fal.media/files/a.png", "https://1.1.1.1:8443/x?y=z"])
def test_an_https_url_passes_and_needs_public_addresses(url):
    assert check_media_url(url, allow_loopback=True) is False
    assert check_media_url(url, allow_loopback=False) is False


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.9.9.9:81"])
def test_loopback_passes_only_where_it_is_allowed(host):
    assert check_media_url(f"http://{host}/a.png", allow_loopback=True) is True
    for scheme in ("http", "https"):
        with pytest.raises(ArgumentError, match="this machine"):
            check_media_url(f"{scheme}://{host}/a.png", allow_loopback=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://v3.fal.media/a.png",
        "ftp://v3.fal.media/a.png",
        "file:///etc/passwd",
        "https://user:pw@v3.fal.media/a.png",
        "https://",
        "https://[broken",
        "https://h:port/x",
        "//v3.fal.media/a.png",
        "",
    ],
)
def test_any_other_url_is_refused(url):
    for allow_loopback in (True, False):
        with pytest.raises(ArgumentError):
            check_media_url(url, allow_loopback=allow_loopback)
