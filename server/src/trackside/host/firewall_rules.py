"""The rules of the one nftables table of an installation. Pure: text.

They keep environments apart from each other, from the host's own ports and from what else the machine routes, whatever the
container engine or another firewall allows: a packet that is dropped here is gone, one that is accepted here may still be
dropped elsewhere.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network


@dataclass(frozen=True)
class FirewallPlan:
    """What the rules depend on.

    `closed_uplinks` are the network cards between which nothing was forwarded before we came, and nothing shall be;
    `drop_private` closes private networks beyond the machine to apps and builds.
    """

    table: str
    interface_prefix: str
    network_pool: IPv4Network
    build_network: IPv4Network
    closed_uplinks: tuple[str, ...] = ()
    drop_private: bool = False


def ruleset(plan: FirewallPlan) -> str:
    """Input for `nft -f -`: replaces the table in one step."""
    ours = f'"{plan.interface_prefix}*"'
    private = (
        "\n\t\tip daddr { 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 } drop" if plan.drop_private else ""
    )
    uplinks = ", ".join(f'"{name}"' for name in plan.closed_uplinks)
    closed = f"\n\t\tiifname {{ {uplinks} }} oifname {{ {uplinks} }} drop" if uplinks else ""
    return f"""table inet {plan.table}
delete table inet {plan.table}
table inet {plan.table} {{
	chain prerouting {{
		type filter hook prerouting priority mangle; policy accept;
		iifname {ours} meta nfproto ipv6 drop
		iifname {ours} fib saddr . iif oif missing drop
	}}
	chain input {{
		type filter hook input priority filter - 5; policy accept;
		iifname {ours} jump to_host
	}}
	chain to_host {{
		ct state established,related accept
		fib daddr . iif type local udp dport 53 accept
		fib daddr . iif type local tcp dport 53 accept
		fib daddr . iif type local icmp type echo-request accept
		drop
	}}
	chain forward {{
		type filter hook forward priority filter - 5; policy accept;
		iifname {ours} jump from_ours
		oifname {ours} jump to_ours{closed}
	}}
	chain from_ours {{
		iifname {ours} oifname {ours} fib daddr . iif oif exists accept
		ct state established,related accept
		oifname {ours} drop
		meta oifkind "bridge" drop
		ip daddr 169.254.0.0/16 drop
		ip daddr {{ {plan.network_pool}, {plan.build_network} }} drop{private}
	}}
	chain to_ours {{
		iifname {ours} accept
		ct state established,related accept
		drop
	}}
	chain postrouting {{
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr {{ {plan.network_pool}, {plan.build_network} }} oifname != {ours} masquerade
	}}
}}
"""


def openings(interface_prefix: str, comment: str) -> list[tuple[str, ...]]:
    """Rules for an iptables firewall that would drop what ours allows: what to insert (chain first), each with our comment."""
    ours = f"{interface_prefix}+"
    note = ("-m", "comment", "--comment", comment, "-j", "ACCEPT")
    answered = ("-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED")
    return [
        ("FORWARD", "-i", ours, *note),
        ("FORWARD", "-o", ours, *answered, *note),
        ("FORWARD", "-i", ours, "-o", ours, *note),
        ("INPUT", "-i", ours, "-p", "udp", "--dport", "53", *note),
        ("INPUT", "-i", ours, "-p", "tcp", "--dport", "53", *note),
        ("INPUT", "-i", ours, *answered, *note),
    ]
