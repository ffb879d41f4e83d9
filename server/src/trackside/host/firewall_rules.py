"""The rules of the one nftables table of an installation. Pure: text.

They keep environments apart from each other, from the host's own ports and from what else the machine routes, whatever the
container engine or another firewall allows: a packet that is dropped here is gone, one that is accepted here may still be
dropped elsewhere.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address

IPAddress = IPv4Address | IPv6Address
METADATA = "169.254.0.0/16, 100.100.100.200, 168.63.129.16"
"""Where clouds keep what their machines may know of themselves: link-local addresses, and those of Alibaba and Azure."""
METADATA_IPV6 = "fe80::/10, fd00:ec2::254"
PRIVATE = "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10"


@dataclass(frozen=True)
class BuildEngineRules:
    """What the build engine itself may reach: it fetches what a Dockerfile names, so it is as trusted as a Dockerfile.

    `group` is its control group (of version 2) below /sys/fs/cgroup, `level` that group's depth in its hierarchy; `services`
    are addresses and TCP ports that are open to it wherever they are: mirrors and proxies that the settings name.
    """

    group: str
    level: int
    services: frozenset[tuple[IPAddress, int]] = frozenset()


@dataclass(frozen=True)
class FirewallPlan:
    """What the rules depend on.

    `closed_uplinks` are the network cards between which nothing was forwarded before we came, and nothing shall be;
    `uplink_bridges` are bridges that lead out of the machine; all others are somebody's private networks. `drop_private` closes
    private networks beyond the machine to apps and builds.
    """

    table: str
    interface_prefix: str
    network_pool: IPv4Network
    build_network: IPv4Network
    closed_uplinks: tuple[str, ...] = ()
    uplink_bridges: tuple[str, ...] = ()
    drop_private: bool = False
    build_engine: BuildEngineRules | None = None


def ruleset(plan: FirewallPlan) -> str:
    """Input for `nft -f -`: replaces the table in one step."""
    ours = f'"{plan.interface_prefix}*"'
    private = f"\n\t\tip daddr {{ {PRIVATE} }} drop" if plan.drop_private else ""
    uplinks = _quoted(plan.closed_uplinks)
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
		{_to_bridge(plan)} drop
		ip daddr {{ {METADATA} }} drop
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
	}}{_build_engine_chains(plan, plan.build_engine) if plan.build_engine else ""}
}}
"""


def _build_engine_chains(plan: FirewallPlan, engine: BuildEngineRules) -> str:
    """What a Dockerfile makes the build engine fetch (`ADD`, `FROM`, `COPY --from`) comes from the machine's own addresses.

    Refused, not dropped: a build that names a closed address is to fail at once. DNS is asked of whomever the machine asks.
    """
    closed = "reject with icmpx admin-prohibited"
    private = f"\n\t\tip daddr {{ {PRIVATE} }} {closed}\n\t\tip6 daddr fc00::/7 {closed}" if plan.drop_private else ""
    return f"""{_services_sets(engine)}
	chain output {{
		type filter hook output priority filter - 5; policy accept;
		socket cgroupv2 level {engine.level} "{engine.group}" jump from_build_engine
	}}
	chain from_build_engine {{
		ip daddr . tcp dport @{services_set(4)} accept
		ip6 daddr . tcp dport @{services_set(6)} accept
		ip daddr {{ {plan.network_pool}, {plan.build_network} }} {closed}
		meta l4proto {{ tcp, udp }} th dport 53 accept
		fib daddr type {{ local, broadcast, anycast, multicast }} {closed}
		{_to_bridge(plan)} {closed}
		ip daddr {{ {METADATA} }} {closed}
		ip6 daddr {{ {METADATA_IPV6} }} {closed}{private}
	}}"""


def services_set(version: int) -> str:
    """The name of the set of services that are open to the build engine, of addresses of this version of IP."""
    return f"services_ipv{version}"


def _services_sets(engine: BuildEngineRules) -> str:
    """Sets, for what is in them changes while the rules stay."""
    sets = ""
    for version in (4, 6):
        found = _elements(engine.services, version)
        elements = f"\n\t\telements = {found}" if found else ""
        sets += f"\n\tset {services_set(version)} {{\n\t\ttype ipv{version}_addr . inet_service{elements}\n\t}}"
    return sets


def _elements(services: Iterable[tuple[IPAddress, int]], version: int) -> str:
    """As nft takes them; "" where there are none."""
    found = sorted(f"{address} . {port}" for address, port in services if address.version == version)
    return f"{{ {', '.join(found)} }}" if found else ""


def opening(table: str, services: Iterable[tuple[IPAddress, int]], *, instead: bool) -> str:
    """Input for `nft -f -`: opens these to the build engine, in one step; `instead`: and no others any more."""
    services = list(services)
    lines: list[str] = []
    for version in (4, 6):
        place = f"inet {table} {services_set(version)}"
        lines += [f"flush set {place}"] if instead else []
        if found := _elements(services, version):
            lines.append(f"add element {place} {found}")
    return "\n".join(lines) + "\n"


def _to_bridge(plan: FirewallPlan) -> str:
    """Matches what leaves by a bridge that does not lead out of the machine."""
    apart = f" oifname != {{ {_quoted(plan.uplink_bridges)} }}" if plan.uplink_bridges else ""
    return f'meta oifkind "bridge"{apart}'


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


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
