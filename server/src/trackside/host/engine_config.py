"""Configuration of the container engines that we start ourselves. Pure: values and text.

Neither touches the machine's firewall: masquerading and isolation are in the one table of `firewall_rules`, so that stopping
leaves nothing behind. Both use one containerd of ours, never the system's.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class EnginePlan:
    """One dockerd of ours. `bridge` is a bridge that exists, or "none"; `resolver` answers for names, where one is set.

    `insecure_registry` (host:port) is asked without TLS.
    """

    name: str
    data: Path
    run: Path
    socket: Path
    containerd_socket: Path
    control_group: str
    bridge: str = "none"
    resolver: str = ""
    insecure_registry: str = ""

    @property
    def config_file(self) -> Path:
        return self.run / "daemon.json"

    @property
    def pid_file(self) -> Path:
        return self.run / "dockerd.pid"


def daemon_json(plan: EnginePlan) -> str:
    """The engine's configuration file."""
    values: dict[str, Any] = {
        "data-root": str(plan.data),
        "exec-root": str(plan.run / "exec"),
        "hosts": [f"unix://{plan.socket}"],
        "pidfile": str(plan.pid_file),
        "group": "root",
        "containerd": str(plan.containerd_socket),
        "containerd-namespace": plan.name,
        "live-restore": True,
        "bridge": plan.bridge,
        "iptables": False,
        "ip6tables": False,
        "ip-forward": False,
        "ip-masq": False,
        "userland-proxy": False,
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "cgroup-parent": plan.control_group,
        "log-driver": "json-file",
        "log-opts": {"max-size": "10m", "max-file": "3"},
        "shutdown-timeout": 10,
    }
    if plan.resolver:
        values["dns"] = [plan.resolver]
    if plan.insecure_registry:
        values["insecure-registries"] = [plan.insecure_registry]
    return json.dumps(values, indent=2) + "\n"


def dockerd_argv(program: Path, plan: EnginePlan) -> tuple[str, ...]:
    """What no configuration file can say comes as an option."""
    namespace = f"{plan.name}-plugins"
    return (str(program), "--config-file", str(plan.config_file), "--containerd-plugins-namespace", namespace)


def containerd_toml(root: Path, state: Path, socket: Path) -> str:
    """containerd's configuration: ours alone, without the Kubernetes interface."""
    return f"""version = 2
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.grpc.v1.cri"]

[grpc]
address = "{socket}"
"""
