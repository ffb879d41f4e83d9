"""What limits look like in the files of a control group, version 1 and 2. Pure."""

from dataclasses import dataclass

PERIOD_MICROSECONDS = 100_000
MARGIN_BYTES = 1 << 20
"""Memory and swap together get a little more, so that it is memory's own limit that is met, and counted (`memory.failcnt`)."""
V1_CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "pids", "blkio")


@dataclass(frozen=True)
class Limits:
    """Limits of a control group; None leaves the kernel's default.

    `cpu_cores` is a ceiling; `cores` are the only processors it runs on (empty: all);
    `weight` (1 to 10,000, usual 100) a share of CPU and disk while others want them;
    `yields` makes it run only on cores that nothing else wants at that moment; memory is in bytes, swap included.
    """

    cpu_cores: float | None = None
    cores: tuple[int, ...] = ()
    weight: int | None = None
    yields: bool = False
    memory_bytes: int | None = None
    processes: int | None = None


def v2_files(limits: Limits) -> dict[str, str]:
    """File → value in the one hierarchy of version 2."""
    files: dict[str, str] = {}
    if limits.cpu_cores is not None:
        files["cpu.max"] = f"{_quota(limits.cpu_cores)} {PERIOD_MICROSECONDS}"
    if limits.cores:
        files["cpuset.cpus"] = _listed(limits.cores)
    if limits.weight is not None:
        files |= {"cpu.weight": str(limits.weight), "io.weight": f"default {limits.weight}"}
    if limits.yields:
        files["cpu.idle"] = "1"
    if limits.memory_bytes is not None:
        files |= {"memory.max": str(limits.memory_bytes), "memory.swap.max": "0", "memory.oom.group": "0"}
    if limits.processes is not None:
        files["pids.max"] = str(limits.processes)
    return files


def v1_files(limits: Limits) -> dict[str, dict[str, str]]:
    """Controller → file → value, each controller a hierarchy of its own."""
    files: dict[str, dict[str, str]] = {name: {} for name in V1_CONTROLLERS}
    if limits.cpu_cores is not None:
        files["cpu"] |= {
            "cpu.cfs_period_us": str(PERIOD_MICROSECONDS),
            "cpu.cfs_quota_us": str(_quota(limits.cpu_cores)),
        }
    if limits.cores:
        files["cpuset"]["cpuset.cpus"] = _listed(limits.cores)
    if limits.weight is not None:
        files["cpu"]["cpu.shares"] = str(max(2, limits.weight * 1024 // 100))
        files["blkio"]["blkio.bfq.weight"] = str(min(1000, max(1, limits.weight)))
    if limits.yields:
        files["cpu"]["cpu.idle"] = "1"
    if limits.memory_bytes is not None:
        files["memory"] = {
            "memory.limit_in_bytes": str(limits.memory_bytes),
            "memory.memsw.limit_in_bytes": str(limits.memory_bytes + MARGIN_BYTES),
        }
    if limits.processes is not None:
        files["pids"]["pids.max"] = str(limits.processes)
    return files


def _listed(cores: tuple[int, ...]) -> str:
    return ",".join(map(str, cores))


def _quota(cores: float) -> int:
    return int(cores * PERIOD_MICROSECONDS)
