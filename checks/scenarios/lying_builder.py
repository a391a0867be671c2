"""Is nothing believed that a builder's daemon gets wrong, and is the build done elsewhere, with a word to the user?"""

from __future__ import annotations

from lib import HERE, Coordinator, Machine, derivation, has_path, nix_build, ran_on, start_all, start_build, subtest, uri, write

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder", "access": "ssh"}, "b2": {"role": "builder"}}
# Passes on what nix-daemon says, but for one lie about whatever output holds `@@lie@@`, or has `lie` in its name.
LIAR = r'''#!/usr/bin/env python3
import os, re, struct, subprocess, sys, threading

INFO = re.compile(rb"\x40\0{7}[0-9a-f]{64}", re.DOTALL)
daemon = subprocess.Popen(["nix-daemon", *sys.argv[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def number(data, at):
    return struct.unpack_from("<Q", data, at)[0]


def lie(data):
    mode = open("/run/lie").read().strip()
    if mode == "corrupt":
        return data.replace(b"@@lie@@", b"@@LIE@@")
    if mode == "truncate" and b"@@lie@@" in data:
        return data[: data.index(b"@@lie@@") + 3] + data[data.index(b"@@lie@@") + 11 :]
    found = INFO.search(data)
    if not found or b"-lie" not in data or mode not in ("size", "references"):
        return data
    at = found.end()
    count = number(data, at)
    at += 8
    for _ in range(count):
        length = number(data, at)
        if mode == "references":
            return data[: at + 8 + 20] + b"zzzz" + data[at + 8 + 24 :]
        at += 8 + (length + 7) // 8 * 8
    return data[: at + 8] + struct.pack("<Q", number(data, at + 8) + 8) + data[at + 16 :]


def up():
    while data := os.read(0, 65536):
        daemon.stdin.write(data)
        daemon.stdin.flush()
    daemon.stdin.close()


threading.Thread(target=up, daemon=True).start()
while data := os.read(daemon.stdout.fileno(), 65536):
    os.write(1, lie(data))
os._exit(0)
'''


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    write(b1, "/usr/local/bin/liar", LIAR)
    write(b1, "/run/lie", "nothing")
    b1.succeed("chmod 755 /usr/local/bin/liar")
    coordinator = Coordinator(localmachine)
    liar = {"uri": uri("b1") + "&remote-program=/usr/local/bin/liar", "speed_factor": 9.0}
    coordinator.start('[timeouts]\nretry_max = "1s"\n', builders=[liar, uri("b2")])
    coordinator.wait_for_health("healthy", "b1", "b2")

    for mode in ("corrupt", "truncate", "size", "references"):
        with subtest(f"as long as it tells the truth, it builds ({mode})"):
            coordinator.wait_for_health("healthy", "b1", "b2")
            assert ran_on(nix_build(localmachine, derivation("truth"))[0], [b1]) == "b1"

        with subtest(f"it lies: {mode}"):
            write(b1, "/run/lie", mode)
            lie = derivation("lie", f"{HERE}; echo '@@lie@@' $inputs >>$out", inputs=[derivation("reference")])
            said = start_build(localmachine, lie).succeed(30)
            path = said.split()[-1]
            assert ran_on(path, [b2]) == "b2" and has_path(localmachine, path)
            assert "@@lie@@" in localmachine.succeed(f"cat {path}")
            assert "b1 " in said and "building again on b2" in said, said
            write(b1, "/run/lie", "nothing")
