"""A control group per machine, where the kernel and the caller's rights allow it: CPU seconds, and a limit on them."""

from __future__ import annotations

from pathlib import Path

TOP = Path("/sys/fs/cgroup")
PREFIX = "muster-lab"
PERIOD = 100_000


class Cgroup:
    """One machine's group. Version 1 has a directory per controller, version 2 one for all."""

    def __init__(self, run: str, machine: str) -> None:
        self._directories: list[Path] = []
        for hierarchy in hierarchies():
            directory = hierarchy / f"{PREFIX}.{run}.{machine}"
            try:
                directory.mkdir(exist_ok=True)
            except OSError:
                continue
            self._directories.append(directory)

    def joining(self, command: list[str]) -> list[str]:
        """The command, as a member of this group."""
        if not self._directories:
            return command
        join = "".join(f"echo 0 >{directory}/cgroup.procs; " for directory in self._directories)
        return ["sh", "-c", f'{join}exec "$@"', "sh", *command]

    def cpu_seconds(self) -> float | None:
        return next((seconds for directory in self._directories if (seconds := counted(directory)) is not None), None)

    def limit_cpu(self, cores: float | None) -> bool:
        """At most so many cores from now on; none: no limit. False if that can't be done here."""
        quota = -1 if cores is None else int(cores * PERIOD)
        for directory in self._directories:
            if (quota_file := directory / "cpu.cfs_quota_us").exists():
                quota_file.write_text(str(quota))
                return True
            if (maximum := directory / "cpu.max").exists():
                maximum.write_text(f"{'max' if quota < 0 else quota} {PERIOD}")
                return True
        return False


def hierarchies() -> list[Path]:
    if (TOP / "cgroup.procs").exists():
        return [TOP]
    return list({(TOP / name).resolve() for name in ("cpu", "cpuacct") if (TOP / name / "cgroup.procs").exists()})


def counted(directory: Path) -> float | None:
    """CPU seconds of all that ever ran in a group; none: they are not counted there."""
    if (usage := directory / "cpuacct.usage").exists():
        return int(usage.read_text()) / 1e9
    if (stat := directory / "cpu.stat").exists() and "usage_usec" in stat.read_text():
        return int(stat.read_text().split()[1]) / 1e6
    return None


def spent(run: str) -> float | None:
    """CPU seconds of all groups of one run; none: they are not counted here."""
    groups = [directory for hierarchy in hierarchies() for directory in hierarchy.glob(f"{PREFIX}.{run}.*")]
    seconds = [used for directory in groups if (used := counted(directory)) is not None]
    return sum(seconds) if seconds else None


def sweep(run: str | None = None) -> None:
    """Removes the groups of one run, or those of all runs whose first process is gone."""
    for hierarchy in hierarchies():
        for directory in hierarchy.glob(f"{PREFIX}.{run or '*'}.*"):
            owner = directory.name.split(".")[1].split("-")[0]
            if run is None and Path(f"/proc/{owner}").exists():
                continue
            try:
                directory.rmdir()
            except OSError:
                pass  # still emptying: the next sweep finds it
