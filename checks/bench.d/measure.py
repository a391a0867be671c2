"""measure.py MUSTER DIRECTORY PAIRS [SECTION...]: muster beside stock Nix, with the Nix that is found on PATH.

Everything is measured in pairs, stock first, on the same stores. The last line printed is what was found, as a Python
value: facts and rows. A row is a dictionary; `pairs` holds (stock, muster).
"""

import os
import subprocess
import sys
import time

from stage import Coordinator, Groups, Stage, processes, script, status_field
from worker import Daemon

BUILDERS, SLOTS = ["b1", "b2", "b3"], 4
MB = 1_000_000
CHAIN, MANY, CPU_BUILDS, CROWD = 20, 100, 20, 20
LARGE, HUGE, FILES = 256 * MB, 2_000 * MB, 5_000

DERIVATION = """derivation {{
    name = "{name}"; system = "@SYSTEM@"; builder = "/bin/sh"; salt = "@SALT@";
    args = [ "-c" "{script}" ]; {more}
  }};"""


def main():
    muster, base, pairs, *wanted = sys.argv[1:]
    stage = Stage(base, muster)
    usual = [copies, chain, many, connect_wall, connect_memory, cpu]
    known = {section.__name__: section for section in [*usual, crowd]}
    rows = []
    try:
        for section in [known[name] for name in wanted] or usual:
            began = time.monotonic()
            rows += section(stage, int(pairs))
            print(f"  {section.__name__}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        print(repr({"facts": facts(stage), "rows": rows}))
    finally:
        stage.close()


def facts(stage):
    return {"nix": stage.run("nix", "--version").said.split()[-1]}


def row(name, unit, pairs, **limits):
    return {"name": name, "unit": unit, "pairs": pairs, **limits}


def repeat(pairs, stock, muster):
    """Interleaved."""
    return [(stock(), muster()) for _ in range(pairs)]


# --- NARs -----------------------------------------------------------------------------------------------------------


def copies(stage, pairs):
    large, files = make_large(stage, "large", LARGE), make_many_files(stage)
    rows = []
    for name, path, size in [(f"copy one file of {LARGE // MB} MB", large, LARGE), files]:
        taken = repeat(pairs, lambda: copy(stage, path, stock_copy)[0], lambda: copy(stage, path, our_copy)[0])
        speeds = [(size / MB / stock, size / MB / ours) for stock, ours in taken]
        rows.append(row(name, "MB/s", speeds, ratio_min=0.8))
    huge = make_large(stage, "huge", HUGE)
    peaks = [(None, copy(stage, huge, our_copy)[1])]
    stage.run("rm", "-rf", f"{stage.base}/from", f"{stage.base}/to")
    return rows + [row(f"peak memory for {HUGE // MB} MB", "MB", peaks, muster_max=64)]


def stock_copy(stage, path):
    """The stock command through whose one process the same bytes pass between the same two daemons."""
    store = f"ssh-ng://localhost?remote-store={stage.base}"
    return ["nix", "copy", "--no-check-sigs", "--from", f"{store}/from", "--to", f"{store}/to", path]


def our_copy(stage, path):
    store = f"local?root={stage.base}"
    return [stage.muster, "bench", "copy", f"{store}/from", f"{store}/to", path]


def copy(stage, path, command):
    """Seconds, and the peak of the copying process's own memory in MB. The target store begins without the path."""
    to = f"{stage.base}/to"
    stage.run("rm", "-rf", to)
    Daemon(["nix-daemon", "--stdio", "--store", f"local?root={to}"], stage.env).close()
    os.sync()
    began = time.monotonic()
    child = stage.start(command(stage, path))
    peak = 0
    while child.poll() is None:
        peak = status_field(child.pid, "VmHWM") or peak
        time.sleep(0.01)
    taken = time.monotonic() - began
    if child.returncode != 0 or not os.path.exists(f"{to}{path}"):
        raise RuntimeError(f"{command(stage, path)}: {open(f'{stage.base}/said').read()}")
    return taken, peak


def make_large(stage, name, size):
    block = os.urandom(16 * MB)
    file = f"{stage.base}/{name}"
    with open(file, "wb") as out:
        for at in range(0, size, len(block)):
            out.write(block[: size - at])
    return add(stage, file)


def make_many_files(stage):
    tree = f"{stage.base}/files"
    for at in range(FILES):
        if at % 100 == 0:
            os.makedirs(f"{tree}/{at // 100}")
        with open(f"{tree}/{at // 100}/{at}", "wb") as out:
            out.write(os.urandom(8000))
    return f"copy {FILES} files of 8 kB", add(stage, tree), FILES * 8000


def add(stage, path):
    said = stage.run("nix-store", "--store", f"local?root={stage.base}/from", "--add", path).said
    stage.run("rm", "-rf", path)
    return said.split()[-1]


# --- Builds ---------------------------------------------------------------------------------------------------------


def independent(count, command="echo > $out"):
    names = [f"n{at}" for at in range(count)]
    parts = [f"{name} = {DERIVATION.format(name=name, script=command, more='')}" for name in names]
    return names, "{\n" + "\n".join(parts) + "\n}\n"


def chained(count):
    parts = []
    for at in range(count):
        more = f"before = n{at - 1};" if at else ""
        parts.append(f"n{at} = {DERIVATION.format(name=f'n{at}', script='echo > $out', more=more)}")
    return [f"n{count - 1}"], "rec {\n" + "\n".join(parts) + "\n}\n"


def chain(stage, pairs):
    coordinator = Coordinator(stage, "c-chain", BUILDERS, SLOTS)
    stock = stage.stock_line(BUILDERS, SLOTS)
    graph = chained(CHAIN)
    stage.build(graph, stock)
    taken = repeat(pairs + 2, lambda: stage.build(graph, stock).wall,
                   lambda: stage.build(graph, coordinator.builders).wall)
    coordinator.stop()
    each = [(0, (ours - stock) / CHAIN * 1000) for stock, ours in taken]
    return [row(f"chain of {CHAIN} trivial builds", "s", taken, ratio_max=1.05),
            row("the same, muster's difference per build", "ms", each, difference=True)]


def many(stage, pairs):
    coordinator = Coordinator(stage, "c-many", BUILDERS, SLOTS)
    idle = coordinator.resident()
    stock = stage.stock_line(BUILDERS, SLOTS)
    graph = independent(MANY)
    with_stock, with_tuned = [], []
    for _ in range(max(1, pairs - 1)):
        plain = stage.build(graph, stock).wall
        ours = stage.build(graph, coordinator.builders).wall
        tuned = stage.build(graph, stock, "--option", "build-poll-interval", "0").wall
        with_stock.append((plain, ours))
        with_tuned.append((tuned, ours))
    after = coordinator.resident()
    coordinator.stop()
    name = f"{MANY} trivial builds, {len(BUILDERS)} builders x {SLOTS} slots"
    return [row(name, "s", with_stock, ratio_max=1.0),
            row("the same, stock with build-poll-interval = 0", "s", with_tuned),
            row("coordinator's resident memory, idle", "MB", [(None, idle)], muster_max=40),
            row(f"the same after {MANY * len(with_stock)} builds", "MB", [(None, after)])]


def crowd(stage, pairs):
    coordinator = Coordinator(stage, "c-long", BUILDERS, SLOTS)
    stock = stage.stock_line(BUILDERS, SLOTS)
    graph = independent(60, "sleep 3; echo > $out")
    taken = repeat(1, lambda: stage.build(graph, stock).wall, lambda: stage.build(graph, coordinator.builders).wall)
    coordinator.stop()
    return [row("60 builds of 3 s on 12 slots (ideal 15)", "s", taken, ratio_max=1.0)]


# --- connect --------------------------------------------------------------------------------------------------------


def connect_wall(stage, pairs):
    coordinator = Coordinator(stage, "c-wall", BUILDERS[:1], SLOTS)
    ours = [stage.muster, "--stdio", "--store", coordinator.line()]
    stock = ["nix-daemon", "--stdio", "--store", f"{stage.base}/b1"]
    taken = repeat(30 * pairs, lambda: exchange(stock, stage), lambda: exchange(ours, stage))
    floor = [(None, start_of_nothing(stage)) for _ in range(30)]
    coordinator.stop()
    return [row("start, handshake, one question, end: nix-daemon; connect", "ms", taken, muster_max=5),
            row("the start and end of `true` there", "ms", floor)]


def exchange(command, stage):
    began = time.monotonic()
    daemon = Daemon(command, stage.env)
    daemon.query_no_paths()
    daemon.close()
    return (time.monotonic() - began) * 1000


def start_of_nothing(stage):
    began = time.monotonic()
    subprocess.Popen(["true"], env=stage.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE).communicate()
    return (time.monotonic() - began) * 1000


def connect_memory(stage, _):
    coordinator = Coordinator(stage, "c-memory", BUILDERS, SLOTS)
    rows = []
    for count in [1, CROWD]:
        graph = independent(count, "sleep 3; echo > $out")
        client = stage.start(stage.nix_build(graph, coordinator.builders))
        sizes = settled_sizes(stage, count)
        if client.wait() != 0:
            raise RuntimeError(open(f"{stage.base}/said").read())
        mean = [sum(column) / len(column) for column in zip(*sizes)]
        rows.append(row(f"memory (PSS) of connect, mean of {count}", "MB", [(None, mean[0])], muster_max=5))
        rows.append(row("of that, shared with nobody (private)", "MB", [(None, mean[1])]))
    coordinator.stop()
    return rows


def settled_sizes(stage, count):
    """(PSS, private) of each connect, once all are there."""
    for _ in range(100):
        time.sleep(0.02)
        connects = [pid for pid, words in processes() if words[:2] == [stage.muster, "--stdio"]]
        if len(connects) == count:
            break
    else:
        raise RuntimeError(f"{len(connects)} of {count} connects")
    time.sleep(1)
    size = lambda pid, *fields: sum(status_field(pid, field, "smaps_rollup") for field in fields)
    return [(size(pid, "Pss"), size(pid, "Private_Clean", "Private_Dirty")) for pid in connects]


# --- CPU ------------------------------------------------------------------------------------------------------------


def cpu(stage, pairs):
    """CPU time per build by who used it. Scripts between move processes to their groups; they cost both the same."""
    try:
        groups = Groups(stage.base)
    except OSError as error:
        print(f"  cpu: skipped: {error}", file=sys.stderr)
        return []
    try:
        return cpu_rows(stage, pairs, {name: groups.make(name) for name in PARTS})
    finally:
        groups.close()


PARTS = ["client", "coordinator", "connect", "local", "builder"]


def cpu_rows(stage, pairs, groups):
    mover = "#!/bin/sh\ncase $* in *{base}/client*) group={local} ;; *) group={other} ;; esac\n" \
            "echo $$ >$group\nexec {program} \"$@\"\n"
    paths = {"base": stage.base, "local": groups["local"].procs}
    daemon = script(f"{stage.base}/daemon",
                    mover.format(other=groups["builder"].procs, program="nix-daemon", **paths))
    connect = script(f"{stage.base}/connect",
                     mover.format(other=groups["connect"].procs, program=stage.muster, **paths))
    coordinator = Coordinator(stage, "c-cpu", BUILDERS[:1], SLOTS, connect, daemon, groups["coordinator"])
    stock = stage.stock_line(BUILDERS[:1], SLOTS, daemon)
    graph = independent(CPU_BUILDS)
    measured = repeat(pairs, lambda: cpu_of(stage, graph, stock, groups),
                      lambda: cpu_of(stage, graph, coordinator.builders, groups))
    coordinator.stop()
    return [cpu_row(measured, *columns) for columns in CPU_ROWS]


# What of stock is compared with what of muster.
CPU_ROWS = [
    ("CPU per build: stock's hook; muster's coordinator and connect", ["hook"], ["coordinator", "connect"], 1.0),
    ("- stock's hook", ["hook"], ["hook"], None),
    ("- connect", [], ["connect"], None),
    ("- coordinator", [], ["coordinator"], None),
    ("- daemon of the local store, asked by the coordinator", [], ["local"], None),
    ("- daemon of the builder, builds included", ["builder"], ["builder"], None),
    ("- all", ["hook", "own", *PARTS[1:]], ["hook", "own", *PARTS[1:]], None),
]


def cpu_row(measured, name, stock, ours, limit):
    total = lambda parts, used: sum(used[part] for part in parts) if parts else None
    limits = {} if limit is None else {"ratio_max": limit}
    return row(name, "ms", [(total(stock, first), total(ours, second)) for first, second in measured], **limits)


def cpu_of(stage, graph, builders, groups):
    """Milliseconds per build of each part. The hook is what the client's group used beside the client itself."""
    before = {name: group.cpu() for name, group in groups.items()}
    took = stage.build(graph, builders, group=groups["client"])
    time.sleep(0.2)
    used = {name: group.cpu() - before[name] for name, group in groups.items()}
    used["own"] = took.own
    used["hook"] = used["client"] - took.own
    return {name: value / CPU_BUILDS * 1000 for name, value in used.items()}


main()
