"""The files that make a Debian root file system one particular machine. They are laid over it before its first start."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Sequence

from . import tailnet
from .nodes import FORCED, Node

BASE_CONF = Path(__file__).resolve().parent.parent / "nix.conf"

# As far as muster uses it. Others than root become root by a setpriv that belongs to root and runs as its owner, which a
# scenario puts there; like the real one it takes the environment away, but for what is to be kept.
SUDO = r"""#!/bin/sh
keep=
while :; do case ${1-} in -n) ;; --preserve-env=*) keep=$(echo "${1#*=}" | tr , ' ') ;; *) break ;; esac; shift; done
[ "$(id -u)" != 0 ] || exec "$@"
for name in $keep; do eval "set -- \"\$name=\${$name}\" \"\$@\""; done
set -- env -i HOME=/root LOGNAME=root USER=root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
exec become-root --reuid 0 --regid 0 --clear-groups -- "$@"
"""
# Whom the root file system doesn't have yet: name, uid, home. The builders' user has a home that does not exist.
ALICE = ("alice", 1001, "/home/alice")
REMOTEBUILD = ("remotebuild", 1002, "/home/remotebuild")


@dataclass(frozen=True)
class File:
    path: str
    text: str
    mode: int = 0o644


def write(files: Iterator[File], upper: Path) -> None:
    """Writes all of them below `upper`, as root's."""
    for file in files:
        path = upper / file.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text)
        path.chmod(file.mode)
    home = upper / ALICE[2].lstrip("/")
    home.mkdir(parents=True)
    os.chown(home, ALICE[1], ALICE[1])


def of(node: Node, everybody: Sequence[Node], root: Path, keys: Path) -> Iterator[File]:
    """All files of a node."""
    yield from names(node, everybody)
    yield from users(node, root)
    yield from nix(node)
    yield from sshd(node, keys)
    if node.is_builder:
        yield from login(node, everybody, keys)
    if node.is_coordinator:
        yield from client(node, everybody, keys)
    if not node.nix_on_path:
        yield File("/etc/lab/nix-off-path", "")
    if node.kvm:
        yield File("/etc/lab/kvm", "")
    for path, text in tailnet.files(node, everybody, keys):
        yield File(path, text, 0o600)
    for path, text in node.files.items():
        yield File(path, text, 0o600 if "/.ssh/" in path else 0o644)


def names(node: Node, everybody: Sequence[Node]) -> Iterator[File]:
    hosts = [f"{other.address} {other.name}\n{other.address6} {other.name}-6\n" for other in everybody]
    yield File("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n" + "".join(hosts))
    yield File("/etc/hostname", node.name + "\n")
    # For commands that people are told to type.
    yield File("/usr/local/bin/systemctl", '#!/bin/sh\nexec /run/lab/service "$@"\n', 0o755)
    yield File("/usr/local/bin/sudo", SUDO, 0o755)
    yield File("/etc/machine-id", hashlib.md5(node.name.encode()).hexdigest() + "\n")


def users(node: Node, root: Path) -> Iterator[File]:
    shell = "/usr/local/bin/noisy-shell" if node.noise else "/bin/bash"
    new = [(*ALICE, "/bin/bash")] + ([(*REMOTEBUILD, shell)] if node.is_builder else [])
    added = {
        "/etc/passwd": "".join(f"{name}:x:{uid}:{uid}::{home}:{shell}\n" for name, uid, home, shell in new),
        "/etc/group": "".join(f"{name}:x:{uid}:\n" for name, uid, _, _ in new),
        "/etc/shadow": "".join(f"{name}:*:19000:0:99999:7:::\n" for name, _, _, _ in new),
    }
    for path, text in added.items():
        yield File(path, (root / path[1:]).read_text() + text, 0o640 if path == "/etc/shadow" else 0o644)
    if node.noise:
        yield File(shell, f'#!/bin/sh\ncat <<\'NOISE\'\n{node.noise}\nNOISE\nexec /bin/bash "$@"\n', 0o755)


def nix(node: Node) -> Iterator[File]:
    trusted = "root remotebuild" if node.is_builder and node.trusted else "root"
    values = {"trusted-users": trusted, **node.nix_conf}
    if node.is_coordinator:
        values = {"builders": "@/run/muster/machines", **values}
    base = BASE_CONF.read_text()
    # /labhost in a build says on which machine it runs.
    base = base.replace("sandbox-paths =", "sandbox-paths = /labhost=/etc/hostname")
    kept = [line for line in base.splitlines() if line.split(" = ")[0].rstrip(" =") not in values]
    yield File("/etc/nix/nix.conf", "\n".join(kept + [f"{key} = {value}" for key, value in values.items()]) + "\n")
    if node.machines:
        yield File("/etc/nix/machines", "\n".join(node.machines) + "\n")


SSHD = """\
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/authorized_keys.d/%u
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
Subsystem sftp /usr/lib/openssh/sftp-server
"""


def sshd(node: Node, keys: Path) -> Iterator[File]:
    """As Debian has it, without what takes a whole system."""
    banner = "Banner /etc/ssh/banner\n" if node.banner else ""
    yield File("/etc/ssh/sshd_config", f"Port {node.port}\n{banner}{SSHD}")
    if node.banner:
        yield File("/etc/ssh/banner", node.banner + "\n")
    yield from key_pair("/etc/ssh/ssh_host_ed25519_key", keys / f"host-{node.name}")


def login(node: Node, everybody: Sequence[Node], keys: Path) -> Iterator[File]:
    """Who may log in as remotebuild. NixOS keeps the keys of a home-less user in the same place."""
    admitted = [other for other in everybody if other.is_coordinator and other != node and node.authorized]
    lines = [FORCED.get(node.access, "") + (keys / f"user-{other.name}.pub").read_text() for other in admitted]
    yield File("/etc/ssh/authorized_keys.d/remotebuild", "".join(lines))


def client(node: Node, everybody: Sequence[Node], keys: Path) -> Iterator[File]:
    """What a coordinator has after the tutorial's `ssh-keygen` and its test logins."""
    yield from key_pair(node.key, keys / f"user-{node.name}")
    known = [known_host(other, keys) for other in everybody if other.is_builder and other.known and other != node]
    yield File("/root/.ssh/known_hosts", "".join(known), 0o600)


def known_host(node: Node, keys: Path) -> str:
    names = [node.name, node.address, f"{node.name}-6", node.address6]
    pattern = ",".join(names if node.port == 22 else [f"[{name}]:{node.port}" for name in names])
    kind, key = (keys / f"host-{node.name}.pub").read_text().split()[:2]
    return f"{pattern} {kind} {key}\n"


def key_pair(path: str, source: Path) -> Iterator[File]:
    yield File(path, source.read_text(), 0o600)
    yield File(path + ".pub", source.with_name(source.name + ".pub").read_text())
