"""Do builds go through a relay, with a warning, and through a machine's own sshd, where the tailnet offers nothing better?"""

from __future__ import annotations

from lib import Coordinator, Machine, nix_build, ran_on, several, start_all, start_build, subtest
from lib_tailnet import Tailnet, by_tag

SSHD = """
[[source]]
[source.tailscale]
tag = "tag:other"
ssh = "sshd"
user = "remotebuild"
key = "/root/.ssh/remotebuild"
"""
nodes = {
    "control": {"role": "control"},
    "hub": {"role": "coordinator", "tailscale": True},
    "b1": {"role": "builder", "tailscale": True, "authorized": False, "access": "ssh"},
    "b2": {"role": "builder", "tailscale": True},
}


def script(control: Machine, hub: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    tailnet = Tailnet(control)
    coordinator = Coordinator(hub)
    # A network that passes no UDP: what the tailnet cannot send from machine to machine goes through the control server's relay.
    hub.succeed("ip rule add pref 10 ipproto 17 prohibit", "ip -6 rule add pref 10 ipproto 17 prohibit")
    tailnet.join(hub, b1, b2, tags={"hub": "tag:ci", "b2": "tag:other"}, without_ssh=["b2"])
    # By its address, which is how it is reached.
    key = b2.succeed("cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub").strip()
    hub.succeed(f"echo {b2.succeed('tailscale ip -4').strip()} {key} >>/root/.ssh/known_hosts")

    with subtest("both build"):
        coordinator.start(by_tag() + SSHD)
        coordinator.wait_for_health("healthy", "b1", "b2")
        paths = nix_build(hub, several(4, script="cat /labhost >$out; sleep 1"))
        assert {ran_on(path, [b1, b2]) for path in paths} == {"b1", "b2"}
        assert "Accepted publickey for remotebuild" in b2.succeed("cat /var/log/sshd.log")

    with subtest("the status has the relay"):
        coordinator.wait_for(lambda rows: rows["b1"]["path"] == "relayed by lab", "the path to b1")

    with subtest("tailscaled ends and starts again beside a build, which does not fail"):
        build = start_build(hub, several(6, script="cat /labhost >$out; sleep 3"))
        coordinator.wait_for(lambda rows: all(row["busy"] for row in rows.values()), "two builds")
        hub.systemctl("restart tailscaled")
        build.succeed(60)
        coordinator.wait_for_health("healthy", "b1", "b2")

    with subtest("a warning says once that it is slow"):
        hub.wait_until_succeeds("grep -q 'by a relay only.*builder=b1' /var/log/muster.log", timeout=40)
        assert coordinator.log().count("by a relay only, which is slow: see `tailscale ping b1`") == 1
