"""The rules of the firewall, as text."""

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from trackside.host.commands import run
from trackside.host.firewall_rules import FirewallPlan, openings, ruleset

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
		ip daddr 169.254.0.0/16 drop
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
    plan = FirewallPlan(PLAN.table, PLAN.interface_prefix, PLAN.network_pool, PLAN.build_network, ("eth0", "eth1"))
    assert 'iifname { "eth0", "eth1" } oifname { "eth0", "eth1" } drop' in ruleset(plan)


def test_private_networks_are_closed_where_asked() -> None:
    plan = FirewallPlan(PLAN.table, PLAN.interface_prefix, PLAN.network_pool, PLAN.build_network, drop_private=True)
    assert "192.168.0.0/16" in ruleset(plan)
    assert "192.168.0.0/16" not in ruleset(PLAN)


@pytest.mark.parametrize("drop_private", [True, False])
@pytest.mark.parametrize("uplinks", [(), ("eth0",), ("eth0", "wlan0")])
async def test_the_kernel_takes_every_form_of_the_rules(drop_private: bool, uplinks: tuple[str, ...]) -> None:
    plan = FirewallPlan(PLAN.table, PLAN.interface_prefix, PLAN.network_pool, PLAN.build_network, uplinks, drop_private)
    await run("nft", "--check", "-f", "-", stdin=ruleset(plan))


@given(st.integers(0, 0xFFFFFFFF))
def test_every_rule_for_another_firewall_carries_our_comment_and_only_our_interfaces(number: int) -> None:
    prefix, comment = f"t{number:08x}"[:6], f"trackside_{number:08x}"
    for rule in openings(prefix, comment):
        assert rule[-2:] == ("-j", "ACCEPT")
        assert rule[rule.index("--comment") + 1] == comment
        assert f"{prefix}+" in rule
