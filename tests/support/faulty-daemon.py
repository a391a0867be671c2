#!/usr/bin/env python3
"""A nix-daemon that fails at an exact step of a build.

It stands in for a builder's `nix-daemon --stdio ... --store [local?root=]STAGE/BUILDER`: it starts the real one and
passes the bytes on both ways. A file STAGE/faults/armed/NAME with the words `WHEN WHAT AFTER` makes the first channel
of any builder that gets there fail, once; then STAGE/faults/hits/NAME holds the builder's name.

WHEN:  handshake  the channel is opened
       upload     in the middle of an input that contains @@upload@@
       start      a build of a derivation *victim* is ordered, and the daemon has not heard of it
       log        the build says @@log@@
       end        the build of *victim* has ended, and nobody has heard of it
       output     in the middle of an output that contains @@output@@
WHAT:  die        the machine goes down: all channels and all builds end
       cut        this channel ends, in the middle of whatever it is
       hang       the machine freezes: nothing is closed, nothing moves on any channel
       hold       this channel rests until there is a file STAGE/faults/released/NAME
       nonsense   random bytes, and then nothing
       flood      log messages without end, and without an end of line
       flood-line one log message of unlimited length
       corrupt    one byte is another one
       truncate   eight bytes are missing
AFTER: back       the next channel works
       dead       no channel of this builder works any more: it ends at once, or freezes too after a hang

What happens is noted in STAGE/faults/log: `BUILDER start`, `BUILDER build NAME`, `BUILDER fault WHEN WHAT`.
"""
import os
import re
import select
import signal
import struct
import subprocess
import sys
import threading
import time

ROOT = sys.argv[sys.argv.index("--store") + 1].split("root=")[-1]
BUILDER = os.path.basename(ROOT)
FAULTS = os.path.join(os.path.dirname(ROOT), "faults")
RUNNING = os.path.join(FAULTS, "running", BUILDER)
DEAD = os.path.join(FAULTS, "dead", BUILDER)

BUILD = re.compile(rb"\x24\0{7}.\0{7}/[^\0]*/[0-9a-z]{32}-([^\0/]*)\.drv", re.DOTALL)
VICTIM = re.compile(rb"\x24\0{7}.\0{7}/[^\0]*/[0-9a-z]{32}-([^\0/]*victim[^\0/]*)\.drv", re.DOTALL)
STDERR_NEXT = struct.pack("<Q", 0x6F6C6D67)
STDERR_LAST = struct.pack("<Q", 0x616C7473)
# Where to look, what for, and whether it is still passed on.
WHERE = {
    "upload": ("up", re.compile(rb"@@upload@@"), True),
    "start": ("up", VICTIM, False),
    "log": ("down", re.compile(rb"@@log@@"), True),
    "end": ("down", re.compile(STDERR_LAST), False),
    "output": ("down", re.compile(rb"@@output@@"), True),
}
# Longer than what any pattern matches.
TAIL = 512

daemon = None
frozen = threading.Event()
victim_ordered = threading.Event()


def main():
    os.makedirs(RUNNING, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: end_all())
    signal.signal(signal.SIGUSR1, lambda *_: freeze())
    mine = os.path.join(RUNNING, str(os.getpid()))
    open(mine, "w").close()
    # Whoever makes the machine dead says so before it looks who is running: one of both is noticed.
    if os.path.exists(DEAD):
        os.unlink(mine)
        be_dead()
    note("start")
    global daemon
    daemon = subprocess.Popen(
        ["nix-daemon", *sys.argv[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    fault = claim(lambda when: when == "handshake")
    if fault:
        strike(fault, b"")
    threading.Thread(target=pump, args=("up", 0, daemon.stdin.fileno()), daemon=True).start()
    pump("down", daemon.stdout.fileno(), 1)
    os.unlink(mine)
    os._exit(daemon.wait() & 0x7F)


def be_dead():
    with open(DEAD) as file:
        if file.read() == "hang":
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            # It says nothing, and ends with whoever started it.
            ended = select.poll()
            ended.register(0, 0)
            ended.poll()
    sys.exit(f"{BUILDER} is dead")


def pump(direction, source, sink):
    tail = b""
    while True:
        data = os.read(source, 65536)
        while frozen.is_set():
            time.sleep(3600)
        if not data:
            break
        seen, known = tail + data, len(tail)
        if direction == "up":
            watch_orders(seen, known)
        fault, at = find_fault(direction, seen, known)
        if fault:
            write(sink, data[:at])
            data = strike(fault, data[at:])
        write(sink, data)
        tail = seen[-TAIL:]
    if direction == "up":
        daemon.stdin.close()


def watch_orders(seen, known):
    for match in BUILD.finditer(seen):
        if match.end() > known:
            name = match.group(1).decode()
            note(f"build {name}")
            if "victim" in name:
                victim_ordered.set()


def find_fault(direction, seen, known):
    """The fault that is armed for what was just seen, and where in the new data it strikes."""
    matches = {}
    for when, (where, pattern, passed_on) in WHERE.items():
        if where != direction or (when == "end" and not victim_ordered.is_set()):
            continue
        match = next((match for match in pattern.finditer(seen) if match.end() > known), None)
        if match:
            matches[when] = max(0, (match.end() if passed_on else match.start()) - known)
    if not matches:
        return None, 0
    fault = claim(lambda when: when in matches)
    if "end" in matches:
        victim_ordered.clear()
    return fault, matches[fault[0]] if fault else 0


def claim(wanted):
    """Takes an armed fault for this channel alone."""
    armed = os.path.join(FAULTS, "armed")
    for name in sorted(os.listdir(armed)):
        try:
            with open(os.path.join(armed, name)) as file:
                fault = file.read().split()
            if not wanted(fault[0]):
                continue
            taken = os.path.join(FAULTS, f".{name}")
            os.rename(os.path.join(armed, name), taken)
        except FileNotFoundError:
            continue
        with open(taken, "w") as file:
            file.write(BUILDER)
        note(f"fault {fault[0]} {fault[1]}")
        if fault[2] == "dead":
            with open(DEAD, "w") as file:
                file.write(fault[1])
        os.rename(taken, os.path.join(FAULTS, "hits", name))
        return [*fault, name]
    return None


def strike(fault, data):
    """Fails; gives what is passed on instead of `data` where the channel lives on."""
    what = fault[1]
    if what == "corrupt":
        return bytes([data[0] ^ 1]) + data[1:]
    if what == "truncate":
        return data[8:]
    if what == "hold":
        hold(fault[3])
        return data
    frozen.set()
    if what == "die":
        tell_other_channels(signal.SIGTERM)
        end_all()
    elif what == "hang":
        tell_other_channels(signal.SIGUSR1)
    elif what == "cut":
        end_all()
    kill_tree(daemon.pid)
    if what == "nonsense":
        write(1, os.urandom(4096))
    elif what == "flood":
        text = b"x" * 8192
        while True:
            write(1, STDERR_NEXT + struct.pack("<Q", len(text)) + text)
    elif what == "flood-line":
        write(1, STDERR_NEXT + struct.pack("<Q", 1 << 62))
        while True:
            write(1, b"x" * 8192)
    while True:
        time.sleep(3600)


def hold(name):
    closed = select.poll()
    closed.register(0, 0)
    while not os.path.exists(os.path.join(FAULTS, "released", name)):
        if closed.poll(10):
            end_all()


def tell_other_channels(number):
    for pid in os.listdir(RUNNING):
        if int(pid) != os.getpid():
            kill(int(pid), number)


def freeze():
    frozen.set()
    end_daemon()


def end_all():
    """The daemon and its builds end, and then this process."""
    end_daemon()
    try:
        os.unlink(os.path.join(RUNNING, str(os.getpid())))
    except FileNotFoundError:
        pass
    os._exit(1)


def end_daemon():
    if daemon:
        kill_tree(daemon.pid)


def kill_tree(pid):
    """Nix leaves builds running when it is killed, so they are collected first."""
    kill(pid, signal.SIGSTOP)
    tree, grown = {pid}, True
    while grown:
        grown = {child for child, parent in parents() if parent in tree and child not in tree}
        tree |= grown
    for member in tree:
        kill(member, signal.SIGKILL)
    daemon.wait()


def parents():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                yield int(pid), int(file.read().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            pass


def kill(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def write(fd, data):
    try:
        while data:
            data = data[os.write(fd, data):]
    except BrokenPipeError:
        # Whoever listened there is gone; what follows from that comes the other way.
        if fd == 1:
            end_all()


def note(text):
    with open(os.path.join(FAULTS, "log"), "a") as file:
        file.write(f"{BUILDER} {text}\n")


main()
