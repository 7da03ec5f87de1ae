"""Which addresses and URLs a download may use."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.errors import ArgumentError, ConfigError
from falq.media.addresses import (
    AddressRule,
    check_media_url,
    is_loopback_address,
    is_public_address,
)

CLOSED = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "233.252.0.0/24",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "::/128",
    "::1/128",
    "::/96",
    "::ffff:0.0.0.0/104",
    "::ffff:10.0.0.0/104",
    "::ffff:100.64.0.0/106",
    "::ffff:127.0.0.0/104",
    "::ffff:169.254.0.0/112",
    "::ffff:172.16.0.0/108",
    "::ffff:192.0.0.0/120",
    "::ffff:192.0.2.0/120",
    "::ffff:192.168.0.0/112",
    "::ffff:198.18.0.0/111",
    "::ffff:198.51.100.0/120",
    "::ffff:203.0.113.0/120",
    "::ffff:224.0.0.0/100",
    "::ffff:240.0.0.0/100",
    "64:ff9b::/96",
    "64:ff9b::a00:0/104",
    "64:ff9b::7f00:0/104",
    "64:ff9b::a9fe:0/112",
    "64:ff9b::c0a8:0/112",
    "64:ff9b:1::/48",
    "100::/64",
    "200::/7",
    "400::/6",
    "2001::/32",
    "2001:2::/48",
    "2001:10::/28",
    "2001:20::/28",
    "2001:db8::/32",
    "2002::/16",
    "2002:a00::/24",
    "2002:7f00::/24",
    "2002:a9fe::/32",
    "2002:c0a8::/32",
    "3fff::/20",
    "4000::/3",
    "5f00::/16",
    "8000::/1",
    "fc00::/7",
    "fd00:ec2::/32",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "ff02::/16",
    "ff0e::/16",
]


def test_sixty_ranges_are_held():
    assert len(set(CLOSED)) >= 60


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


def test_a_rule_adds_the_named_networks_and_nothing_else():
    rule = AddressRule.parse(["10.1.0.0/16", "fd00::/8"])
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::1", "1.1.1.1"):
        assert rule.allows(address)
    for address in ("10.2.0.1", "127.0.0.1", "fe80::1%eth0", "nowhere"):
        assert not rule.allows(address)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "here", "10.0.0.0/33"])
def test_what_is_no_network_cannot_be_allowed(text):
    with pytest.raises(ConfigError, match="allow_private"):
        AddressRule.parse([text])


def test_the_query_of_a_refused_url_is_not_shown():
    with pytest.raises(ArgumentError) as caught:
        check_media_url("http://h/a.png?token=canary", allow_loopback=False)
    assert "canary" not in str(caught.value)
