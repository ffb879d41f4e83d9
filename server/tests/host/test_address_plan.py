"""Which addresses an installation takes."""

from ipaddress import IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackside.host.address_plan import interface_prefix, plan_networks
from trackside.host.errors import AddressesExhausted
from trackside.host.installation import nameservers

private = st.builds(
    lambda base, length: IPv4Network((base, length), strict=False),
    st.one_of(st.integers(10 << 24, (11 << 24) - 1), st.integers(0xAC100000, 0xAC1FFFFF)),
    st.integers(9, 32),
)


@settings(deadline=None)  # the machine may be busy
@given(st.lists(private, max_size=40), st.integers(0, 0xFFFFFFFF))
def test_a_planned_network_overlaps_nothing_and_is_private(taken: list[IPv4Network], seed: int) -> None:
    try:
        pool, builds = plan_networks(taken, seed)
    except AddressesExhausted:
        return
    assert not any(network.overlaps(pool) or network.overlaps(builds) for network in taken)
    assert not pool.overlaps(builds)
    assert (pool.prefixlen, builds.prefixlen) == (16, 24)
    assert pool.is_private
    assert builds.is_private


def test_installations_one_after_the_other_never_share_a_network() -> None:
    taken: list[IPv4Network] = []
    for seed in range(60):
        taken += plan_networks(taken, seed)
    assert not any(a.overlaps(b) for i, a in enumerate(taken) for b in taken[:i])


def test_a_machine_without_a_free_private_network_is_told_how_to_name_one() -> None:
    everything = [IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12"), IPv4Network("192.168.0.0/16")]
    with pytest.raises(AddressesExhausted) as refused:
        plan_networks(everything, 0)
    assert "TRACKSIDE_NETWORK_POOL" in refused.value.hint


@given(st.integers(0, 0xFFFFFFFF))
def test_a_bridge_of_ours_always_has_a_name_the_kernel_takes(number: int) -> None:
    assert len(interface_prefix(f"{number:08x}")) == 6


def test_name_servers_are_read_whatever_else_the_file_says() -> None:
    text = "# nameserver 9.9.9.9\nsearch example.org\nnameserver 10.0.0.53\nnameserver fd00::53\nnameserver\noptions ndots:1\n"
    assert [str(server) for server in nameservers(text)] == ["10.0.0.53"]
