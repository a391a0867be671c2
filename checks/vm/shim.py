"""The NixOS test driver's machines, with what the scenarios ask of a machine beyond that driver."""

from __future__ import annotations

import importlib
import itertools
import json
import shlex
import time
from contextlib import AbstractContextManager
from typing import Any, Callable, Mapping

_numbers = itertools.count()


class Background:
    """A command that systemd runs on a machine."""

    def __init__(self, machine: Any, command: str) -> None:
        self.machine = machine
        self.unit = f"spawned-{next(_numbers)}"
        self.said = f"/run/{self.unit}"
        wrapped = f"({command}); echo $? >{self.said}.status"
        machine.succeed(f"systemd-run --unit={self.unit} --setenv=PATH=$PATH -p StandardOutput=file:{self.said} -p StandardError=inherit -- bash -c {shlex.quote(wrapped)}")

    def is_running(self) -> bool:
        return bool(self.machine.execute(f"systemctl is-active --quiet {self.unit}")[0] == 0)

    def output(self) -> str:
        return str(self.machine.succeed(f"cat {self.said}"))

    def interrupt(self) -> None:
        self.machine.succeed(f"systemctl kill --signal=INT {self.unit}")

    def wait(self, timeout: float = 120) -> tuple[int, str]:
        self.machine.wait_until_fails(f"systemctl is-active --quiet {self.unit}", timeout=int(timeout))
        status = self.machine.execute(f"cat {self.said}.status")[1].strip()
        return int(status) if status else 130, self.output()

    def succeed(self, timeout: float = 120) -> str:
        status, said = self.wait(timeout)
        assert status == 0, f"{self.unit} on {self.machine.name} ended with {status}: {said}"
        return said


class Machine:
    """All else is the driver's own."""

    def __init__(self, driver: "Driver", real: Any, node: Mapping[str, Any]) -> None:
        self.driver, self.real, self.node = driver, real, node

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def start(self, keep_store: bool = True) -> None:
        assert keep_store, "a virtual machine's store stays as it is"
        self.real.start()
        self.real.wait_for_unit("multi-user.target")
        self.driver.introduce()

    def execute(self, command: str, timeout: float = 120) -> tuple[int, str]:
        status, said = self.real.execute(command, timeout=int(timeout))
        return status, said

    def succeed(self, *commands: str, timeout: float = 120) -> str:
        return str(self.real.succeed(*commands, timeout=int(timeout)))

    def fail(self, *commands: str, timeout: float = 120) -> str:
        return str(self.real.fail(*commands, timeout=int(timeout)))

    def spawn(self, command: str, timeout: float = 600) -> Background:
        return Background(self, f"timeout {int(timeout)} bash -c {shlex.quote(command)}")

    def block(self, drop: bool = False) -> None:
        """With `drop` the cable stays in, and packets vanish."""
        if not drop:
            return self.real.block()  # type: ignore[no-any-return]
        rules = "table inet vanish { chain i { type filter hook input priority 0; iifname != lo drop; }; chain o { type filter hook output priority 0; oifname != lo drop; } }"
        self.real.succeed(f"echo {shlex.quote(rules)} | nft -f -")

    def unblock(self) -> None:
        self.real.execute("nft delete table inet vanish")
        self.real.unblock()


class Driver:
    """What lib.py asks of a driver."""

    def __init__(self, nodes: Mapping[str, Any], machines: Mapping[str, Any], subtest: Callable[[str], AbstractContextManager[None]]) -> None:
        self.machines = {name: Machine(self, machines[name], node) for name, node in nodes.items()}
        self.subtest = subtest

    def start_all(self) -> None:
        for machine in self.machines.values():
            machine.real.start()
        for machine in self.machines.values():
            machine.real.wait_for_unit("multi-user.target")
        self.introduce()

    def delay(self, rtt_ms: float) -> None:
        raise NotImplementedError("no slow lines between virtual machines")

    def introduce(self) -> None:
        """Root on each coordinator that runs knows the host keys of the builders that run, as after the tutorial's test login."""
        up = [machine for machine in self.machines.values() if machine.real.booted]
        for machine in up:
            if machine.node["role"] not in ("coordinator", "both"):
                continue
            known = [other for other in up if has_sshd(other.node) and other.node["known"]]
            for other in known:
                port = other.node["port"]
                other.real.wait_for_open_port(port)
                machine.real.succeed(f"ssh-keygen -R {other.node['name']} -f /root/.ssh/known_hosts; ssh-keyscan -p {port} {other.node['name']} >>/root/.ssh/known_hosts")


def has_sshd(node: Mapping[str, Any]) -> bool:
    """What only a tailnet's policy lets others into has none."""
    return node["role"] in ("builder", "both") and (node["authorized"] or not node["tailscale"])


def run(name: str, nodes: Mapping[str, Any], machines: Mapping[str, Any], subtest: Callable[[str], AbstractContextManager[None]]) -> None:
    """Runs one scenario, as checks/lab does."""
    named = {each: {**node, "name": each} for each, node in nodes.items()}
    driver = Driver(named, machines, subtest)
    lib = importlib.import_module("lib")
    lib.bind(driver)
    scenario = importlib.import_module(name)
    began = time.monotonic()
    scenario.script(**{each: driver.machines[each] for each in nodes})
    print(json.dumps({"scenario": name, "seconds": round(time.monotonic() - began)}))
