"""How fast is muster over ssh, beside stock Nix and stock Nix as an expert would set it?

Runs in the lab like a scenario (`lab.py` starts it), with the environment's BENCH_SECTIONS and BENCH_ROUNDS. Prints the
rows as one Python value: each has samples in seconds for `stock`, `tuned` and `muster`.
"""

from __future__ import annotations

import itertools
import os
import secrets
import statistics
import sys
import time
from typing import Any, Callable, Sequence

from lib import Background, Coordinator, Machine, delay, derivation, graph, several, start_all, travelled, uri, write

limit_seconds = 1800
BUILDERS = ["b1", "b2", "b3"]
SLOTS = 4
RTT_MS = 32
nodes = {"localmachine": {"role": "coordinator", "nix_conf": {"max-jobs": "0"}}, **{name: {"role": "builder"} for name in BUILDERS}}

KEY = "/root/.ssh/remotebuild"
SOCKETS = "/run/tuned-%h"
ALIVE = "-o ServerAliveInterval=5 -o ServerAliveCountMax=2 -o ConnectTimeout=5"
# What a build of no length does.
NOTHING = "echo >$out"
LENGTH = 20
# How long a method that does not come back is watched.
PATIENCE = 15
SMALL_PATHS, LARGE_MB = 300, 500
CHAIN, LINK_MB = 20, 20
# What a builder that is throttled to a twentieth is given, and what it is to build: a seventh of a second of a core each.
THROTTLE, CROWD = 0.05, 48
WORK = "i=0; while [ $i -lt 150000 ]; do i=$((i+1)); done; sleep 1; echo >$out"
# An idle coordinator is watched for so long; each machine is there as several hosts.
IDLE_SECONDS, IDLE_BUILDERS = 30, 20

Row = dict[str, Any]
_numbers = itertools.count()


def script(localmachine: Machine, b1: Machine, b2: Machine, b3: Machine) -> None:
    start_all()
    bench = Bench(localmachine, {"b1": b1, "b2": b2, "b3": b3}, int(os.environ["BENCH_ROUNDS"]))
    delay(RTT_MS)
    rows: list[Row] = []
    for name in os.environ["BENCH_SECTIONS"].split():
        began = time.monotonic()
        rows += getattr(bench, name)()
        print(f"  {name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(repr(rows))


class Bench:
    """The machines, and one method per section."""

    def __init__(self, client: Machine, builders: dict[str, Machine], rounds: int) -> None:
        self.client, self.builders, self.rounds = client, builders, rounds
        self.coordinator = Coordinator(client)
        self.running = False

    # --- sections

    def one_build(self) -> list[Row]:
        """One trivial build, everything warm."""
        self.use(BUILDERS)
        ways = self.ways(BUILDERS)
        taken = {name: [] for name in ways}
        for round_ in range(-1, 2 * self.rounds):
            for name, way in ways.items():
                seconds = self.timed(way(derivation("one", NOTHING)))
                if round_ >= 0:
                    taken[name].append(seconds)
        return [row("one trivial build", taken, muster_max=0.40)]

    def lost_builder(self) -> list[Row]:
        """The builder of a long build loses power; another one has a free slot. All three ways at once."""
        names = ["b1", "b2"]
        self.use(names)
        self.warm(names)
        # Stock's lines name b1 alone, or one of the two would be built on the other; it would not go there afterwards anyway.
        builds = {name: self.start(way(derivation("long", f"{NOTHING}; sleep {LENGTH}"))) for name, way in self.ways(["b1"]).items()}
        self.until(lambda: self.coordinator.builder("b1")["busy"] == 1)
        time.sleep(3)
        self.builders["b1"].crash()
        ended = self.watch(builds, LENGTH + 30)
        self.restart("b1")
        taken, notes = {name: [] for name in builds}, {}
        for name, (seconds, status) in ended.items():
            if status == 0:
                taken[name] = [seconds - LENGTH]
            else:
                notes[name] = f"fails after {seconds:.1f} s" if status is not None else f"hangs (watched for {seconds:.0f} s)"
        return [row(f"builder of a {LENGTH} s build loses power: end after a rerun begun at the loss", taken, notes=notes, muster_max=12)]

    def dead_builder(self) -> list[Row]:
        """What a builder that is known to be dead costs each build."""
        alive, everybody = ["b2", "b3"], BUILDERS
        self.use(alive)
        before = {name: self.median(way) for name, way in self.ways(alive).items()}
        self.builders["b1"].crash()
        self.use(everybody, healthy=alive)
        self.until(lambda: self.coordinator.builder("b1")["health"] == "down")
        taken: dict[str, list[float]] = {}
        notes = {}
        for name, way in self.ways(everybody).items():
            if name == "muster":
                taken[name] = [self.median(way) - before[name]]
                continue
            [(seconds, status)] = self.watch({name: self.start(way(derivation("one", NOTHING)))}, PATIENCE).values()
            taken[name] = [seconds - before[name]] if status == 0 else []
            if status != 0:
                notes[name] = f"> {PATIENCE} s"
        self.restart("b1")
        return [row("a builder known to be dead, per build", taken, notes=notes, muster_max=0.05)]

    def many_builds(self) -> list[Row]:
        """100 builds of no length."""
        return [self.crowd("100 trivial builds", lambda: several(100, script=NOTHING), ratio_max=0.167)]

    def long_builds(self) -> list[Row]:
        """60 builds of 3 s on 12 slots."""
        return [self.crowd("60 builds of 3 s on 12 slots (ideal 15)", lambda: several(60, script=f"{NOTHING}; sleep 3"), muster_max=17)]

    def chain_bytes(self) -> list[Row]:
        """20 builds of 20 MB, each needs the one before: what comes into the coordinator."""
        self.use(BUILDERS)
        self.warm(BUILDERS)
        seconds: dict[str, list[float]] = {}
        megabytes: dict[str, list[float]] = {}
        for name, way in self.ways(BUILDERS).items():
            before = travelled(self.client, "rx")
            seconds[name] = [self.timed(way(chain()), 600)]
            megabytes[name] = [(travelled(self.client, "rx") - before) / 1e6]
        what = f"chain of {CHAIN} x {LINK_MB} MB"
        return [row(what, seconds), row(f"{what}, bytes into the coordinator", megabytes, unit="MB", ratio_max=1.05)]

    def slow_builder(self) -> list[Row]:
        """48 builds while one of three builders has a twentieth of a core, and the same without that builder."""
        expression = lambda: several(CROWD, script=WORK)  # noqa: E731
        others = ["b2", "b3"]
        self.use(others)
        self.warm(others)
        without = {name: [self.timed(way(expression()))] for name, way in self.ways(others).items()}
        if not self.builders["b1"].limit_cpu(THROTTLE):
            return [row(f"{CROWD} builds, one builder at 5 % CPU", {}, notes={"muster": "CPU cannot be limited here"})]
        try:
            self.use(BUILDERS)
            self.until(lambda: all(f"measured builder={name}" in self.coordinator.log() for name in BUILDERS), 120)
            slow = {name: [self.timed(way(expression()), 600)] for name, way in self.ways(BUILDERS).items()}
        finally:
            self.builders["b1"].limit_cpu(None)
        ratio = {name: [slow[name][0] / without[name][0]] for name in slow}
        return [
            row(f"{CROWD} builds of a second on two builders", without),
            row("the same with a third one that has 5 % of a core", slow),
            row("the same, of what it takes without that one", ratio, unit="x", muster_max=1.2),
        ]

    def idle(self) -> list[Row]:
        """A coordinator with 20 builders and nothing to do."""
        names = [f"{host}-{number}" for number in range(1 + IDLE_BUILDERS // len(BUILDERS)) for host in BUILDERS][:IDLE_BUILDERS]
        for path, wanted in (("/etc/hosts", " {}\n"), ("/root/.ssh/known_hosts", "{}")):
            lines = self.client.succeed(f"cat {path}").splitlines(keepends=True)
            again = [line.replace(host, name) for name in names for host in [name[:2]] for line in lines if wanted.format(host) in line]
            write(self.client, path, "".join(lines + again))
        self.use_uris({name: uri(name) for name in names})
        time.sleep(20)
        pid = "$(cat /run/muster.pid)"
        ticks = f"awk '{{print $14 + $15}}' /proc/{pid}/stat"
        before = int(self.client.succeed(ticks))
        time.sleep(IDLE_SECONDS)
        hertz = int(self.client.succeed("getconf CLK_TCK"))
        percent = (int(self.client.succeed(ticks)) - before) / hertz / IDLE_SECONDS * 100
        resident = int(self.client.succeed(f"sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\) kB/\\1/p' /proc/{pid}/status")) / 1e3
        ssh = self.client.succeed("for p in $(pgrep -x ssh); do grep '^Pss:' /proc/$p/smaps_rollup 2>/dev/null || true; done")
        sizes = [int(line.split()[1]) / 1e3 for line in ssh.splitlines()]
        return [
            row(f"idle coordinator with {IDLE_BUILDERS} builders, of one core", {"muster": [percent]}, unit="%", muster_max=0.2),
            row("the same, resident memory", {"muster": [resident]}, unit="MB", muster_max=40),
            row(f"the same, its {len(sizes)} ssh processes (PSS)", {"muster": [sum(sizes)]}, unit="MB"),
        ]

    def crowd(self, name: str, expression: Callable[[], str], **limits: float) -> Row:
        self.use(BUILDERS)
        self.warm(BUILDERS)
        return row(name, {way: [self.timed(build(expression()))] for way, build in self.ways(BUILDERS).items()}, **limits)

    def uploads(self) -> list[Row]:
        """Inputs on their way to a builder: many small paths, one large path, and both at once."""
        self.use(["b1"])
        self.warm(["b1"])
        makers = {
            f"a build with {SMALL_PATHS} small inputs that the builder lacks": (SMALL_PATHS, 0),
            f"a build with an input of {LARGE_MB} MB": (0, LARGE_MB),
            "a build with both": (SMALL_PATHS, LARGE_MB),
        }
        rows = []
        for name, (small, large) in makers.items():
            taken: dict[str, list[float]] = {}
            for way_name, way in self.ways(["b1"]).items():
                paths = self.inputs(small, large)
                inputs = [f"(builtins.storePath {path})" for path in paths]
                taken[way_name] = [self.timed(way(derivation("reader", NOTHING, inputs=inputs)), 600)]
            copied = self.timed(self.copy(self.inputs(small, large)), 600)
            rows += [row(name, taken), row("the same paths by nix copy alone", {"stock": [copied]})]
        return rows

    # --- ways to build

    def ways(self, names: Sequence[str]) -> dict[str, Callable[[str], str]]:
        """How to build an expression: name -> command. Root's own store, without a daemon in between."""
        lines = " ; ".join(f"ssh-ng://remotebuild@{name} x86_64-linux {KEY} {SLOTS} {len(names) - at}" for at, name in enumerate(names))
        self.connect_masters(names)
        tuned = f"NIX_SSHOPTS='-o ControlMaster=no -o ControlPath={SOCKETS} {ALIVE}' "
        return {
            "stock": lambda expression: self.build(expression, lines),
            "tuned": lambda expression: tuned + self.build(expression, lines, "--option build-poll-interval 0"),
            "muster": lambda expression: self.build(expression, "@/run/muster/machines"),
        }

    def build(self, expression: str, builders: str, options: str = "") -> str:
        path = f"/tmp/bench-{next(_numbers)}.nix"
        write(self.client, path, expression)
        return f"nix-build -j0 --no-out-link --builders '{builders}' {options} {path} >/tmp/said 2>&1"

    def connect_masters(self, names: Sequence[str]) -> None:
        """As ControlPersist would, but nobody's stdout stays open in them."""
        for name in names:
            master = f"ssh -i {KEY} -o ControlPath={SOCKETS} {ALIVE} remotebuild@{name}"
            self.client.execute(f"{master} -O check 2>/dev/null || timeout 8 {master} -M -N -f -x </dev/null >/dev/null 2>&1")

    def copy(self, paths: Sequence[str]) -> str:
        write(self.client, "/tmp/paths", "\n".join(paths))
        ssh = f"NIX_SSHOPTS='-i {KEY}'"
        return f"{ssh} xargs -a /tmp/paths nix --extra-experimental-features nix-command copy --no-check-sigs --to ssh-ng://remotebuild@b1 >/tmp/said 2>&1"

    # --- the coordinator and the builders

    def use(self, names: Sequence[str], healthy: Sequence[str] = ()) -> None:
        """A coordinator that has these builders."""
        self.use_uris({name: uri(name) for name in names}, healthy)

    def use_uris(self, uris: dict[str, str], healthy: Sequence[str] = ()) -> None:
        if self.running:
            self.coordinator.stop()
        self.client.succeed("rm -f /var/log/muster.log")
        self.coordinator.start(builders=[{"name": name, "uri": where, "slots": SLOTS} for name, where in uris.items()])
        self.running = True
        self.coordinator.wait_for_health("healthy", *(healthy or uris), timeout=60)

    def restart(self, name: str) -> None:
        self.builders[name].start()

    def warm(self, names: Sequence[str]) -> None:
        for way in self.ways(names).values():
            self.timed(way(derivation("one", NOTHING)))

    # --- time

    def timed(self, command: str, timeout: float = 300) -> float:
        """Seconds, without what it takes to get into the machine."""
        said = self.client.succeed(f"began=$(date +%s%N); {command} || {{ tail -n 20 /tmp/said >&2; exit 1; }}; echo $(($(date +%s%N) - began))", timeout=timeout)
        return int(said.split()[-1]) / 1e9

    def median(self, way: Callable[[str], str]) -> float:
        self.timed(way(derivation("one", NOTHING)))
        return statistics.median(self.timed(way(derivation("one", NOTHING))) for _ in range(4 * self.rounds))

    def start(self, command: str) -> Background:
        return self.client.spawn(command)

    def watch(self, builds: dict[str, Background], limit: float) -> dict[str, tuple[float, int | None]]:
        """Until all have ended or the limit: how long each took from now on, and its status."""
        began, ended = time.monotonic(), {}
        while len(ended) < len(builds) and time.monotonic() - began < limit:
            for name, build in builds.items():
                if name not in ended and not build.is_running():
                    ended[name] = time.monotonic() - began, build.wait(1)[0]
            time.sleep(0.02)
        for name, build in builds.items():
            if name not in ended:
                build.interrupt()
                ended[name] = time.monotonic() - began, None
        return ended

    def until(self, holds: Callable[[], bool], limit: float = 60) -> None:
        ends = time.monotonic() + limit
        while not holds():
            assert time.monotonic() < ends, "it does not come to that"
            time.sleep(0.1)

    # --- inputs

    def inputs(self, small: int, large: int) -> list[str]:
        """Fresh paths in the client's store."""
        place = f"/tmp/inputs-{secrets.token_hex(4)}"
        self.client.succeed(
            f"mkdir {place}; for n in $(seq {small}); do head -c 4000 /dev/urandom >{place}/small-$n; done; "
            f"[ {large} = 0 ] || head -c {large}M /dev/urandom >{place}/large"
        )
        paths = self.client.succeed(f"nix-store --add {place}/*; rm -r {place}").split()
        return paths


def chain() -> str:
    """Each link has random content, and reads the one before."""
    links = {}
    for number in range(CHAIN):
        before = [f"link{number - 1}"] if number else []
        read = "cat $inputs >/dev/null; " if number else ""
        links[f"link{number}"] = derivation(f"link{number}", f"{read}head -c {LINK_MB}000000 /dev/urandom >$out", inputs=before)
    return graph(links, [f"link{CHAIN - 1}"])


def row(name: str, taken: dict[str, list[float]], **more: Any) -> Row:
    return {"name": name, "unit": "s", "taken": taken, **more}
