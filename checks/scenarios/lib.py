"""What scenarios are written with. muster is touched through this module only, and nothing here knows the lab.

A scenario has a first line that asks one question, `nodes` (data, see checks/lab/driver/nodes.py), a function `script`
whose parameters name the machines it uses, and maybe `needs` (see `missing`) and `limit_seconds` (120).
"""

from __future__ import annotations

import itertools
import json
import re
import secrets
import shlex
import subprocess
import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping, Protocol, Sequence

CONFIG = "/run/muster.toml"
LOG = "/var/log/muster.log"
PID = "/run/muster.pid"

# What `nodes` is, where its type has to be said.
Nodes = dict[str, dict[str, Any]]

# Configuration by which losses are noticed sooner than by default, and still not by mistake on a busy machine; and all
# builds wait here, which spares them the 5 s after which Nix asks again.
QUICK = """
[endpoint]
local = "never"

[timeouts]
probe_timeout = "4s"
connect_timeout = "4s"
ping_every = "500ms"
silent_after = "2s"
lost_after = "6s"
retry_min = "200ms"
retry_max = "1s"
"""


# --- the test driver, of the lab or of NixOS


class Background(Protocol):
    def is_running(self) -> bool: ...
    def output(self) -> str: ...
    def interrupt(self) -> None: ...
    def wait(self, timeout: float = 120) -> tuple[int, str]: ...
    def succeed(self, timeout: float = 120) -> str: ...


class Machine(Protocol):
    name: str

    def start(self, keep_store: bool = True) -> None: ...
    def crash(self) -> None: ...
    def shutdown(self) -> None: ...
    def limit_cpu(self, cores: float | None) -> bool: ...
    def block(self, drop: bool = False) -> None: ...
    def unblock(self) -> None: ...
    def execute(self, command: str, timeout: float = 120) -> tuple[int, str]: ...
    def spawn(self, command: str, timeout: float = 600) -> Background: ...
    def succeed(self, *commands: str, timeout: float = 120) -> str: ...
    def fail(self, *commands: str, timeout: float = 120) -> str: ...
    def wait_until_succeeds(self, command: str, timeout: float = 60) -> str: ...
    def wait_until_fails(self, command: str, timeout: float = 60) -> str: ...
    def wait_for_open_port(self, port: int, addr: str = "localhost", timeout: float = 60) -> None: ...
    def wait_for_file(self, path: str, timeout: float = 60) -> None: ...
    def wait_for_unit(self, unit: str, timeout: float = 60) -> None: ...
    def systemctl(self, command: str) -> tuple[int, str]: ...
    def copy_from_host(self, source: str, target: str) -> None: ...


class Driver(Protocol):
    def start_all(self) -> None: ...
    def subtest(self, name: str) -> AbstractContextManager[None]: ...
    def delay(self, rtt_ms: float) -> None: ...


_bound: list[Driver] = []


def bind(driver: Driver) -> None:
    """Says which driver the functions below mean. The runner calls it."""
    _bound[:] = [driver]


def start_all() -> None:
    _bound[0].start_all()


def subtest(name: str) -> AbstractContextManager[None]:
    return _bound[0].subtest(name)


def delay(rtt_ms: float) -> None:
    """From now on a round trip between a coordinator and any other machine takes `rtt_ms`."""
    _bound[0].delay(rtt_ms)


# --- what muster can do already


def missing(need: str, muster: Path) -> str | None:
    """Why a scenario with this need can't run yet; none: it can. muster itself is asked.

    `uri:URI`: a builder with that URI; `command:NAME`: a subcommand; `option:COMMAND --NAME`: an option of one;
    `python:NAME`: a library that checks/action installs.
    """
    kind, _, what = need.partition(":")
    if not muster.exists():
        return f"no {muster}: cargo build makes it"
    if kind == "uri":
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
            config.write(tables([what]))
            config.flush()
            status, said = ask(muster, "check-config", config.name)
        return None if status == 0 else f"muster check-config refuses {what}: {said.rpartition(config.name + ':')[2].strip()}"
    if kind == "python":
        there = Path(__file__).resolve().parents[2] / "target/action/python" / what / "made-of"
        return None if there.exists() else f"no {what} for Python: checks/action setup"
    if kind == "command":
        return None if ask(muster, what, "--help")[0] == 0 else f"there is no muster {what}"
    if kind == "option":
        command, option = what.split()
        return None if option in ask(muster, command, "--help")[1] else f"muster {command} has no {option}"
    raise ValueError(f"needs: {need!r} begins with none of uri:, command:, option:")


def ask(muster: Path, *words: str) -> tuple[int, str]:
    said = subprocess.run([muster, *words], capture_output=True, text=True, timeout=20, env={"PATH": "/usr/bin:/bin", "HOME": "/root"})
    return said.returncode, said.stdout + said.stderr


# --- derivations without Nixpkgs


HERE = "cat /labhost >$out"
# A build that goes on once the scenario opens the gate of the builder; for a builder whose `nix_conf` has GATE.
AT_GATE = "until [ -e /gate/open ]; do sleep 0.2; done"
GATE = {"extra-sandbox-paths": "/gate=/srv/gate"}
_salt = secrets.token_hex(6)
_numbers = itertools.count()


def derivation(name: str, script: str = HERE, inputs: Iterable[str] = (), system: str = "x86_64-linux", features: Iterable[str] = ()) -> str:
    """A Nix expression. Without a script the output says where it was built; `inputs` are expressions or names of a graph.

    The script's `$inputs` are the inputs' paths. No two derivations are the same, in any two runs.
    """
    quoted = " ".join(json.dumps(feature) for feature in features)
    escaped = script.replace("''", "'''").replace("${", "''${")
    return (
        f'(derivation {{ name = "{name}"; system = "{system}"; builder = "/bin/sh"; args = [ "-euc" \'\'{escaped}\'\' ]; '
        f'inputs = [ {" ".join(inputs)} ]; requiredSystemFeatures = [ {quoted} ]; salt = "{_salt}-{next(_numbers)}"; }})'
    )


def graph(derivations: Mapping[str, str], goals: Iterable[str]) -> str:
    """An expression for the goals among named derivations that use each other's names as inputs."""
    return "let " + " ".join(f"{name} = {expression};" for name, expression in derivations.items()) + f" in [ {' '.join(goals)} ]"


def several(count: int, name: str = "job", script: str = HERE, system: str = "x86_64-linux") -> str:
    """Independent derivations."""
    return f"[ {' '.join(derivation(f'{name}{number}', script, system=system) for number in range(count))} ]"


def build_command(machine: Machine, expression: str, user: str = "alice", options: str = "-j0") -> str:
    """The command by which a user of the machine builds it; its stdout is the output paths."""
    path = f"/tmp/expression-{next(_numbers)}.nix"
    write(machine, path, expression)
    return f"runuser -u {user} -- env -C /tmp HOME=$(getent passwd {user} | cut -d: -f6) nix-build --no-out-link {options} {path}"


def nix_build(machine: Machine, expression: str, user: str = "alice", options: str = "-j0", timeout: float = 60) -> list[str]:
    """Builds by stock Nix, through the machine's daemon and as nobody special; the output paths."""
    return machine.succeed(build_command(machine, expression, user, options), timeout=timeout).split()


def start_build(machine: Machine, expression: str, user: str = "alice", options: str = "-j0") -> Background:
    """The same in the background."""
    return machine.spawn(build_command(machine, expression, user, options))


def nix_build_fails(machine: Machine, expression: str, user: str = "alice", options: str = "-j0", timeout: float = 60) -> str:
    """It must fail; what Nix said."""
    return machine.fail(build_command(machine, expression, user, options) + " 2>&1", timeout=timeout)


def ran_on(path: str, builders: Sequence[Machine]) -> str:
    """The name of the builder that built it: what the output says, and that builder's own store has it."""
    holders = {builder.name: builder for builder in builders if has_path(builder, path)}
    said = {holder.succeed(f"head -n 1 {path}").strip() for holder in holders.values()}
    assert len(said) == 1 and said <= set(holders), f"{path} is held by {sorted(holders)} and says {sorted(said)}"
    return said.pop()


def has_path(machine: Machine, path: str, store: str = "auto") -> bool:
    """Whether a store of that machine has the path, by its own word."""
    command = f"PATH=$PATH:/nix/var/nix/profiles/default/bin nix-store --store {shlex.quote(store)} --check-validity {path}"
    return machine.execute(command)[0] == 0


def processes(machine: Machine, words: str) -> int:
    """How many processes of that machine, builds in sandboxes included, have these words in their command line."""
    return int(machine.succeed(f"pgrep -fc '[{words[0]}]{words[1:]}' || true"))


def travelled(machine: Machine, direction: str) -> int:
    """Bytes that the machine's cable has carried, `rx` or `tx`."""
    return int(machine.succeed(f"cat /sys/class/net/eth0/statistics/{direction}_bytes"))


def close_gate(builder: Machine) -> None:
    """Builds wait there, see AT_GATE. It must have been closed before a build can wait for it to open."""
    builder.succeed("mkdir -p /srv/gate && rm -f /srv/gate/open")


def open_gate(builder: Machine) -> None:
    builder.succeed("touch /srv/gate/open")


class Wiretap:
    """Hears every TCP segment with FIN or RST that arrives at a machine: the only words by which a peer can say goodbye."""

    # The kernel's filter passes nothing else, so that it keeps up with any stream: IPv4, TCP, no fragment, flags & 5.
    PROGRAM = """
import array, socket, struct
code = [(40,0,0,12),(21,0,8,0x800),(48,0,0,23),(21,0,6,6),(40,0,0,20),(69,4,0,0x1fff),(177,0,0,14),(80,0,0,27),(69,0,1,5),(6,0,0,96),(6,0,0,0)]
ops = array.array("B", b"".join(struct.pack("HBBI", *op) for op in code))
tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x800))
tap.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HL", len(code), ops.buffer_info()[0]))
print("ready", flush=True)
while True:
    frame, (_, _, kind, _, _) = tap.recvfrom(96)
    if kind != socket.PACKET_OUTGOING:
        print(socket.inet_ntoa(frame[26:30]), flush=True)
"""

    def __init__(self, machine: Machine) -> None:
        write(machine, "/tmp/wiretap.py", self.PROGRAM)
        self._machine, self._heard = machine, machine.spawn("exec python3 /tmp/wiretap.py")
        wait_for(lambda: bool(self._heard.output()), "the wiretap listens", 10)
        assert self._heard.output().startswith("ready"), self._heard.output()

    def goodbyes(self, peer: Machine) -> int:
        """How many have come from that machine so far."""
        address = self._machine.succeed(f"getent ahostsv4 {peer.name} | head -n 1 | cut -d' ' -f1").strip()
        return self._heard.output().split().count(address)


def wait_for(holds: Callable[[], bool], what: str, timeout: float = 30) -> float:
    """Waits until something holds; the seconds that took."""
    began = looked = time.monotonic()
    while not holds():
        now = time.monotonic()
        assert now - began < timeout, f"not within {timeout} s: {what}"
        # What is long to look at is not looked at all the time, and late by a twentieth at most.
        time.sleep(max(0.05, min(2 * (now - looked), timeout / 20)))
        looked = time.monotonic()
    return time.monotonic() - began


def write(machine: Machine, path: str, text: str) -> None:
    machine.succeed(f"cat >{shlex.quote(path)} <<'END OF FILE'\n{text}\nEND OF FILE")


# --- builders and coordinators


def uri(builder: str, port: int = 22, key: str = "/root/.ssh/remotebuild") -> str:
    """How the tutorial reaches a builder, in Nix's own words."""
    return f"ssh-ng://remotebuild@{builder}{'' if port == 22 else f':{port}'}?ssh-key={key}"


def line(builder: str, systems: str = "x86_64-linux", slots: int = 1, features: str = "-") -> str:
    """A line of /etc/nix/machines for stock Nix."""
    return f"ssh-ng://remotebuild@{builder} {systems} /root/.ssh/remotebuild {slots} 1 {features}"


def tables(builders: Iterable[str | Mapping[str, Any]]) -> str:
    """Builders as they are written in muster's configuration: a URI, or all of a table's keys.

    Machines that share their processors measure each other, so their speed is said; None leaves it to be measured.
    """
    rows = [{"uri": builder} if isinstance(builder, str) else builder for builder in builders]
    keys = [{"speed_factor": 1.0, **row} for row in rows]
    return "".join("\n[[builder]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in row.items() if value is not None) for row in keys)


class Coordinator:
    """muster's coordinator on a machine, run as that machine's root."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def configure(self, config: str = "", builders: Iterable[str | Mapping[str, Any]] = ()) -> None:
        """Writes the configuration; `config` is what stands before the builders."""
        write(self.machine, CONFIG, config + "\n" + tables(builders))

    def start(self, config: str = "", builders: Iterable[str | Mapping[str, Any]] = (), wait: bool = True) -> None:
        """Configures and starts it, and waits until it answers."""
        self.configure(config, builders)
        self.launch(wait)

    def launch(self, wait: bool = True, options: str = "") -> None:
        """Starts it with the configuration that is there."""
        self.machine.succeed(f"setsid muster coordinator --config {CONFIG} {options} </dev/null >>{LOG} 2>&1 & echo $! >{PID}")
        if wait:
            self.machine.wait_until_succeeds(f"muster status >/dev/null 2>&1 || ! kill -0 $(cat {PID})", timeout=20)
            assert self.is_running(), self.log()

    def run_once(self, options: str) -> str:
        """Runs it with options that make it end by itself; what it says."""
        return self.machine.succeed(f"muster coordinator --config {CONFIG} {options} 2>&1", timeout=60)

    def stop(self) -> float:
        """Ends it in good order; the seconds that took."""
        return self._signal("TERM")

    def kill(self) -> float:
        """Ends it without a chance to do anything."""
        return self._signal("KILL")

    def restart(self) -> None:
        """Stops it and starts it with the configuration that is there."""
        self.stop()
        self.launch()

    def _signal(self, name: str) -> float:
        began = time.monotonic()
        self.machine.succeed(f"kill -{name} $(cat {PID})")
        self.machine.wait_until_fails(f"grep -qs '^State:[[:space:]]*[^ZX[:space:]]' /proc/$(cat {PID})/status", timeout=30)
        return time.monotonic() - began

    def is_running(self) -> bool:
        return self.machine.execute(f"grep -qs '^State:[[:space:]]*[^ZX[:space:]]' /proc/$(cat {PID})/status")[0] == 0

    def status(self) -> dict[str, Any]:
        """`muster status --json`."""
        status: dict[str, Any] = json.loads(self.machine.succeed("muster status --json"))
        assert status["schema"] == 1, status
        return status

    def builder(self, name: str) -> dict[str, Any]:
        """One builder's row of the status."""
        rows: list[dict[str, Any]] = [row for row in self.status()["builders"] if row["name"] == name]
        assert rows, f"muster status knows no builder {name}"
        return rows[0]

    def wait_for_work(self, builders: Iterable[Machine]) -> Machine:
        """Waits until one of these builds something; that one."""
        by_name = {builder.name: builder for builder in builders}
        self.wait_for(lambda rows: any(rows[name]["busy"] for name in by_name if name in rows), "a build")
        return next(by_name[row["name"]] for row in self.status()["builders"] if row["busy"] and row["name"] in by_name)

    def wait_for_health(self, health: str, *builders: str, timeout: float = 30) -> None:
        """Waits until all these builders have that health; they may be unknown at first."""
        self.wait_for(lambda rows: all(name in rows and rows[name]["health"] == health for name in builders), f"{', '.join(builders)} {health}", timeout)

    def wait_for(self, holds: Callable[[dict[str, dict[str, Any]]], bool], what: str, timeout: float = 30) -> None:
        """Waits until something is true of the builders' rows, by name."""
        ends = time.monotonic() + timeout
        while not holds(rows := {row["name"]: row for row in self.status()["builders"]}):
            assert time.monotonic() < ends, f"not within {timeout} s: {what}; {json.dumps(rows, indent=1)}"
            time.sleep(0.2)

    def doctor(self, *words: str) -> str:
        """`muster doctor`: what it says, whether it found something or not."""
        return self.machine.execute(f"muster doctor --config {CONFIG} {' '.join(words)} 2>&1")[1]

    def log(self) -> str:
        """What it has logged, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.machine.succeed(f"cat {LOG}"))


class Agent:
    """The agent of a builder, run as that machine's root. Whom ssh lets in may claim it."""

    LOG = "/var/log/muster-builder.log"
    CODE = "/run/muster-builder.code"

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def start(self, options: str = "") -> None:
        """Starts it, and waits until it answers."""
        command = f"muster builder --allow-user remotebuild {options} </dev/null >>{self.LOG} 2>&1; echo $? >{self.CODE}"
        self.machine.succeed(f"rm -f {self.CODE}; setsid sh -c {shlex.quote(command)} >/dev/null 2>&1 &")
        self.machine.wait_until_succeeds("muster builder status", timeout=20)

    def status(self) -> dict[str, Any]:
        """`muster builder status --json`."""
        status: dict[str, Any] = json.loads(self.machine.succeed("muster builder status --json"))
        return status

    def claims(self) -> list[dict[str, Any]]:
        return list(self.status()["claims"])

    def wait_for_claims(self, count: int, timeout: float = 30) -> None:
        wait_for(lambda: len(self.claims()) == count, f"{count} claims on {self.machine.name}", timeout)

    def has_ended(self) -> bool:
        return self.machine.execute(f"test -s {self.CODE}")[0] == 0

    def code(self) -> int:
        """Its exit code; it must have ended."""
        return int(self.machine.succeed(f"cat {self.CODE}"))

    def log(self) -> str:
        return re.sub(r"\x1b\[[0-9;]*m", "", self.machine.succeed(f"cat {self.LOG}"))
