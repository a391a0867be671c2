"""Does a runner with neither Nix nor Tailscale nor muster become a builder by what the action downloads, checked, and by nothing else?"""

from __future__ import annotations

from lib import Coordinator, Machine, nix_build, ran_on, several, start_all, subtest, write
from lib_action import Job, load
from lib_tailnet import Tailnet

needs = ("command:wait", "command:builder", "command:join", "python:yaml")
limit_seconds = 300
one_nix = "what the bare machine installs is the hub's own Nix, which takes the libraries of the same suite"
nodes = {
    "control": {"role": "control"},
    # It has the files of the release, too.
    "hub": {"role": "coordinator", "tailscale": True},
    "bare": {"role": "builder", "authorized": False, "access": "ssh"},
}
MIRROR = "/srv/mirror"
# What Nix's own installer comes to, with the Nix of this machine.
INSTALL = """#!/bin/sh
set -eu
here=$(dirname "$0") profile=/nix/var/nix/profiles/default/bin
case " $* " in *" --daemon --yes --no-channel-add "*) ;; *) echo "unexpected: $*" >&2; exit 1 ;; esac
mkdir -p $profile /nix/store
cp "$here/nix" $profile/nix
for name in nix-build nix-daemon nix-instantiate nix-store; do ln -s nix $profile/$name; done
ln -sf $profile/nix /usr/libexec/nix/build-remote
while [ $# -gt 1 ]; do shift; done
cat "$1" >>/etc/nix/nix.conf
systemctl start nix-daemon
"""


# Debian's smallest Python has no http.server.
SERVER = """
import os, socket, sys
listener = socket.create_server(("", 8000))
while True:
    peer, _ = listener.accept()
    with peer, peer.makefile("rb") as said:
        words = said.readline().split()
        if len(words) < 2:
            continue
        name = os.path.basename(words[1].decode())
        while said.readline().strip():
            pass
        try:
            body = open(f"/srv/mirror/{name}", "rb").read()
            peer.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
        except OSError:
            peer.sendall(b"HTTP/1.0 404 Not Found\\r\\n\\r\\n")
"""


def publish(hub: Machine, versions: dict[str, str]) -> None:
    """The files under the names of their publishers, each with its checksum beside it."""
    hub.succeed(f"mkdir -p {MIRROR}")
    nix, tailscale = f"nix-{versions['nix']}", f"tailscale_{versions['tailscale']}"
    write(hub, "/tmp/install", INSTALL)
    made = f"/tmp/made/{nix}-x86_64-linux"
    hub.succeed(f"mkdir -p {made} && install -m 755 /tmp/install $(command -v nix) {made}/")
    hub.succeed(f"XZ_OPT=-0 tar -C /tmp/made -cJf {MIRROR}/{nix}-x86_64-linux.tar.xz {nix}-x86_64-linux")
    made = f"/tmp/made/{tailscale}_amd64"
    hub.succeed(f"mkdir -p {made} && cp /usr/local/bin/tailscale /usr/local/bin/tailscaled {made}/")
    hub.succeed(f"GZIP=-1 tar -C /tmp/made -czf {MIRROR}/{tailscale}_amd64.tgz {tailscale}_amd64")
    # Nobody here can run these.
    others = [f"{nix}-{system}.tar.xz" for system in ("aarch64-linux", "x86_64-darwin", "aarch64-darwin")] + [f"{tailscale}_arm64.tgz"]
    hub.succeed(*(f"echo {name} >{MIRROR}/{name}" for name in others))
    hub.succeed(f"cd {MIRROR} && for file in *; do sha256sum $file | cut -c1-64 >$file.sha256; done")


def strip(bare: Machine) -> None:
    """None of the three is left."""
    bare.systemctl("stop nix-daemon")
    bare.succeed("rm -rf /nix/* /usr/bin/nix* && mkdir -p /run/systemd/system", "umount /usr/local/bin/muster && rm /usr/local/bin/muster")
    bare.fail("command -v nix"), bare.fail("command -v tailscaled"), bare.fail("command -v muster")


def script(control: Machine, hub: Machine, bare: Machine) -> None:
    start_all()
    tailnet = Tailnet(control)
    url = hub.succeed("cat /etc/lab/tailnet-url").strip()
    key = control.succeed("headscale preauthkeys create --ephemeral --tags tag:nix-builder").strip()
    strip(bare)

    with subtest("the release writes the checksums of all that the action downloads"):
        release = Job(hub, {}, {})
        versions = dict(line.split("=") for line in release.machine.succeed(f"cat {release.temp}/muster/action/versions").split())
        publish(hub, versions)
        hub.succeed(f"mkdir {release.temp}/muster/dist && cp /usr/local/bin/muster {release.temp}/muster/dist/muster-x86_64-linux && cp /usr/local/bin/muster {MIRROR}/muster-x86_64-linux")
        write(hub, "/tmp/server.py", SERVER)
        serving_files = hub.spawn("exec python3 /tmp/server.py", timeout=280)
        hub.wait_for_open_port(8000)
        hub.succeed(f"cd {release.temp}/muster && VERSION=0.1.0 MIRROR=http://hub:8000 sh -eu action/release/checksums")

    ca = {"SSL_CERT_FILE": "/etc/tailnet-ca.pem", "TS_NO_LOGS_NO_SUPPORT": "true", "TS_PANIC_IF_HIT_MAIN_CONTROL": "1"}
    job = Job(bare, {}, {"login_server": url, "cache": "none", "mirror": "http://hub:8000"}, {**ca, "TS_DISABLE_PORTMAPPER": "1", "TS_ASSUME_NETWORK_UP_FOR_TEST": "1"})
    write(bare, "/etc/tailnet-ca.pem", control.succeed("cat /etc/headscale/cert.pem"))
    write(bare, f"{job.temp}/muster/action/checksums.txt", hub.succeed(f"cat {release.temp}/muster/action/checksums.txt"))
    action = f"{job.temp}/muster/action"

    with subtest("a program that is not what it must be is refused"):
        hub.succeed(f"echo x >>{MIRROR}/muster-x86_64-linux")
        first = {"GITHUB_ACTION_PATH": action, "MUSTER_REPOSITORY": "owner/muster", "MUSTER_MIRROR": "http://hub:8000"}
        job.shell(f"{action}/scripts/muster release", first, fails=True)
        assert "is not what it must be" in job.log, job.log
        bare.fail(f"test -e {job.temp}/muster-action/bin/muster")
        hub.succeed(f"cp /usr/local/bin/muster {MIRROR}/muster-x86_64-linux")

    with subtest("the rest of the job brings all three, and they run"):
        tailnet.join(hub, tag="tag:ci")
        coordinator = Coordinator(hub)
        coordinator.start('[[source]]\ntailscale = { names = ["nix-bare-24.04"] }\n[endpoint]\nlocal = "never"\n')
        (step,) = [step for step in load("action/examples/nix-build.yml")["jobs"]["builder"]["steps"]]
        given = {**step["with"], "tailscale_authkey": key, "tailscale_hostname": "nix-bare-24.04", "tailscale_tags": "tag:nix-builder", "extra_nix_config": "max-silent-time = 4711"}
        serving = job.run([{**step, "with": given}])
        assert serving
        hub.succeed("muster wait --wait 60s", timeout=70)
        (path,) = nix_build(hub, several(1))
        assert ran_on(path, [bare]) == "bare"

    with subtest("the user's lines are in force, and come last"):
        show = "PATH=$PATH:/nix/var/nix/profiles/default/bin nix --extra-experimental-features nix-command"
        shown = bare.succeed(f"{show} config show 2>/dev/null || {show} show-config")
        assert "max-silent-time = 4711" in shown, shown
        assert bare.succeed("tail -n 2 /etc/nix/nix.conf").startswith("max-silent-time = 4711\n")

    with subtest("it ends green when it is released, and leaves the tailnet"):
        hub.succeed("muster stop")
        serving.succeed(60)
        job.finish()
        bare.fail("pgrep tailscaled")
        bare.fail("test -L /usr/local/bin/muster")
        assert key not in job.log.replace(f"::add-mask::{key}", "") + serving.output()
    serving_files.interrupt()
