"""The rules of the firewall, as text."""

import secrets
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from trackside.host.cgroup_limits import Limits
from trackside.host.cgroups import ControlGroups, system_hierarchies
from trackside.host.commands import run
from trackside.host.firewall_rules import BuildEngineRules, FirewallPlan, openings, ruleset

PLAN = FirewallPlan(
    table="trackside_0a1b2c3d",
    interface_prefix="t0a1b2",
    network_pool=IPv4Network("10.200.0.0/16"),
    build_network=IPv4Network("10.199.255.0/24"),
)


def test_the_rules_read_as_reviewed() -> None:
    assert ruleset(PLAN) == snapshot("""\
table inet trackside_0a1b2c3d
delete table inet trackside_0a1b2c3d
table inet trackside_0a1b2c3d {
	chain prerouting {
		type filter hook prerouting priority mangle; policy accept;
		iifname "t0a1b2*" meta nfproto ipv6 drop
		iifname "t0a1b2*" fib saddr . iif oif missing drop
	}
	chain input {
		type filter hook input priority filter - 5; policy accept;
		iifname "t0a1b2*" jump to_host
	}
	chain to_host {
		ct state established,related accept
		fib daddr . iif type local udp dport 53 accept
		fib daddr . iif type local tcp dport 53 accept
		fib daddr . iif type local icmp type echo-request accept
		drop
	}
	chain forward {
		type filter hook forward priority filter - 5; policy accept;
		iifname "t0a1b2*" jump from_ours
		oifname "t0a1b2*" jump to_ours
	}
	chain from_ours {
		iifname "t0a1b2*" oifname "t0a1b2*" fib daddr . iif oif exists accept
		ct state established,related accept
		oifname "t0a1b2*" drop
		meta oifkind "bridge" drop
		ip daddr { 169.254.0.0/16, 100.100.100.200, 168.63.129.16 } drop
		ip daddr { 10.200.0.0/16, 10.199.255.0/24 } drop
	}
	chain to_ours {
		iifname "t0a1b2*" accept
		ct state established,related accept
		drop
	}
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr { 10.200.0.0/16, 10.199.255.0/24 } oifname != "t0a1b2*" masquerade
	}
}
""")


def test_uplinks_that_were_closed_stay_closed_to_each_other() -> None:
    plan = replace(PLAN, closed_uplinks=("eth0", "eth1"))
    assert 'iifname { "eth0", "eth1" } oifname { "eth0", "eth1" } drop' in ruleset(plan)


def test_private_networks_are_closed_where_asked() -> None:
    assert "192.168.0.0/16" in ruleset(replace(PLAN, drop_private=True))
    assert "192.168.0.0/16" not in ruleset(PLAN)


def test_a_bridge_that_leads_out_of_the_machine_is_no_neighbour() -> None:
    assert 'meta oifkind "bridge" oifname != { "br0" } drop' in ruleset(replace(PLAN, uplink_bridges=("br0",)))


def test_the_rules_for_the_build_engine_read_as_reviewed() -> None:
    services = frozenset({(ip_address("127.0.0.1"), 5000), (ip_address("10.1.2.3"), 3128), (ip_address("::1"), 5000)})
    engine = BuildEngineRules("unified/trackside-0a1b2c3d/build/engine", 3, services)
    plan = replace(PLAN, build_engine=engine, drop_private=True)
    rules = ruleset(plan).partition("\tset services_ipv4")
    assert rules[1] + rules[2] == snapshot("""\
	set services_ipv4 {
		type ipv4_addr . inet_service
		elements = { 10.1.2.3 . 3128, 127.0.0.1 . 5000 }
	}
	set services_ipv6 {
		type ipv6_addr . inet_service
		elements = { ::1 . 5000 }
	}
	chain output {
		type filter hook output priority filter - 5; policy accept;
		socket cgroupv2 level 3 "unified/trackside-0a1b2c3d/build/engine" jump from_build_engine
	}
	chain from_build_engine {
		ip daddr . tcp dport @services_ipv4 accept
		ip6 daddr . tcp dport @services_ipv6 accept
		ip daddr { 10.200.0.0/16, 10.199.255.0/24 } reject with icmpx admin-prohibited
		meta l4proto { tcp, udp } th dport 53 accept
		fib daddr type { local, broadcast, anycast, multicast } reject with icmpx admin-prohibited
		meta oifkind "bridge" reject with icmpx admin-prohibited
		ip daddr { 169.254.0.0/16, 100.100.100.200, 168.63.129.16 } reject with icmpx admin-prohibited
		ip6 daddr { fe80::/10, fd00:ec2::254 } reject with icmpx admin-prohibited
		ip daddr { 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 } reject with icmpx admin-prohibited
		ip6 daddr fc00::/7 reject with icmpx admin-prohibited
	}
}
""")


@pytest.mark.parametrize("drop_private", [True, False])
@pytest.mark.parametrize("uplinks", [(), ("eth0",), ("eth0", "wlan0")])
@pytest.mark.parametrize("services", [None, [], ["127.0.0.1"], ["127.0.0.1", "::1", "10.0.0.1"]])
async def test_the_kernel_takes_every_form_of_the_rules(
    drop_private: bool, uplinks: tuple[str, ...], services: list[str] | None, control_group: tuple[str, int]
) -> None:
    engine = None
    if services is not None:
        engine = BuildEngineRules(*control_group, frozenset((ip_address(address), 5000) for address in services))
    plan = replace(PLAN, closed_uplinks=uplinks, uplink_bridges=uplinks, drop_private=drop_private, build_engine=engine)
    await run("nft", "--check", "-f", "-", stdin=ruleset(plan))


@pytest.fixture
def control_group() -> Iterator[tuple[str, int]]:
    groups, name = ControlGroups(system_hierarchies()), f"/trackside-test-{secrets.token_hex(4)}"
    groups.create(name, Limits())
    path = groups.path_for_firewall(name)
    assert path, "the tests need control groups of version 2 below /sys/fs/cgroup"
    yield path, 1
    groups.remove(name)


@given(st.integers(0, 0xFFFFFFFF))
def test_every_rule_for_another_firewall_carries_our_comment_and_only_our_interfaces(number: int) -> None:
    prefix, comment = f"t{number:08x}"[:6], f"trackside_{number:08x}"
    for rule in openings(prefix, comment):
        assert rule[-2:] == ("-j", "ACCEPT")
        assert rule[rule.index("--comment") + 1] == comment
        assert f"{prefix}+" in rule
