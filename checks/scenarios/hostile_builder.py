"""Is a builder that answers nonsense, hangs, floods or hangs up in mid-frame named and left out, while nobody else notices?"""

from __future__ import annotations

import json

from lib import PID, Coordinator, Machine, nix_build, ran_on, several, start_all, subtest, uri, write

needs = ("uri:ssh-ng://remotebuild@b1",)
EVIL = """#!/usr/bin/python3
import os, sys, time
hello = b"oixd" + bytes(4)
version = (0x123).to_bytes(8, "little")
mode = open("/srv/mode").read().strip()
out = sys.stdout.buffer
def say(data):
    out.write(data)
    out.flush()
if mode == "nonsense":
    say(b"HTTP/1.1 400 Bad Request\\r\\n\\r\\n" * 3)
elif mode == "hang":
    time.sleep(1000)
elif mode == "hang-later":
    say(hello + version)
    time.sleep(1000)
elif mode == "flood":
    while True:
        say(b"x" * 65536)
        os.write(2, b"y" * 4096)
elif mode == "flood-in-frame":
    # A version that is as long as the address space.
    say(hello + version + (2**63).to_bytes(8, "little"))
    while True:
        say(b"x" * 65536)
elif mode == "cut":
    say(hello + version[:3])
"""
# What is said of it.
MODES = {
    "nonsense": "protocol mismatch",
    "hang": "no answer within",
    "hang-later": "no answer within",
    "flood": "protocol mismatch",
    "flood-in-frame": "claims a length",
    "cut": "connection ended",
}
nodes = {
    "localmachine": {"role": "coordinator"},
    "b1": {"role": "builder", "access": "ssh", "files": {"/usr/local/bin/evil": EVIL}},
    "b2": {"role": "builder"},
}
CONFIG = """
[endpoint]
local = "never"
[timeouts]
probe_timeout = "2s"
connect_timeout = "2s"
retry_min = "500ms"
retry_max = "500ms"
"""
# Each would run a command if it reached a shell or ssh's options.
NAMES = (
    "-oProxyCommand=touch /tmp/pwned",
    "ssh://-oProxyCommand=touch%20/tmp/pwned",
    "ssh-ng://b2;touch /tmp/pwned",
    "ssh-ng://$(touch /tmp/pwned)@b2",
    "ssh-ng://b2`touch /tmp/pwned`",
    "ssh-ng://b2?remote-program=x'; touch /tmp/pwned; '",
    "ssh-ng://b2?remote-store='$(touch /tmp/pwned)'",
    "ssh-ng://b2?ssh-key=/root/.ssh/a\"%20-oProxyCommand=x",
    "b2\ntouch /tmp/pwned",
    "ssh-ng://re\"mote build@b2",
)


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    b1.succeed("chmod 755 /usr/local/bin/evil", "sed -i 's,^,command=\"/usr/local/bin/evil\" ,' /etc/ssh/authorized_keys.d/remotebuild")

    for mode, said in MODES.items():
        with subtest(f"{mode}: it is named and left out, and the other builds"):
            b1.succeed(f"echo {mode} >/srv/mode")
            coordinator.start(CONFIG, builders=[uri("b1"), uri("b2")])
            coordinator.wait_for_health("healthy", "b2", timeout=10)
            assert {ran_on(path, [b1, b2]) for path in nix_build(localmachine, several(2))} == {"b2"}
            coordinator.wait_for_health("down", "b1", timeout=15)
            reason = coordinator.builder("b1")["reason"]
            assert said in reason and len(reason) < 2000, reason
            kilobytes = int(localmachine.succeed(f"sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\) kB/\\1/p' /proc/$(cat {PID})/status"))
            assert kilobytes < 60_000, f"{kilobytes} kB"
            assert coordinator.stop() < 2

    with subtest("names that mean something to a shell or to ssh reach neither"):
        for name in NAMES:
            write(localmachine, "/tmp/name", name)
            localmachine.fail('muster probe -- "$(cat /tmp/name)"')
        rows = "".join(json.dumps({"name": f"n{number}", "uri": name}) + "\n" for number, name in enumerate(NAMES))
        write(localmachine, "/tmp/rows", rows)
        write(localmachine, "/etc/nix/machines", "\n".join(f"{name} - - 1" for name in NAMES))
        sources = '[[source]]\nexec = ["cat", "/tmp/rows"]\n[[source]]\nmachines = true\n'
        coordinator.start(sources, builders=[uri("b2")])
        coordinator.wait_for_health("healthy", "b2")
        localmachine.fail("test -e /tmp/pwned")
