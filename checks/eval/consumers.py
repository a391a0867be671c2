"""The programs that read what the modules write: each gets the text, and says what is wrong with it."""

from __future__ import annotations

import os
import plistlib
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Callable, Mapping

# Services that may do no more than they must; one that nobody locked down has a mark of 96.
LOCKED = ("locked-down.service", "muster.service", "muster-builder.service", "muster-join.service")
EXPOSURE = 25
REPOSITORY = Path(__file__).resolve().parents[2]


class Skipped(Exception):
    """This cannot be asked here; why."""


class Wrong(Exception):
    """What a program says against the text."""


def read_all(texts: Mapping[str, str], muster: Path) -> dict[str, Exception | None]:
    """Each text by the program that it is for; None where that is content."""
    # The lab's machines see this repository, and nothing else that is here.
    target = REPOSITORY / "target"
    with tempfile.TemporaryDirectory(prefix="muster-texts-", dir=target if target.is_dir() else None) as name:
        folder = Path(name)
        for text in texts:
            (folder / text).write_text(without_store(texts[text]) if is_unit(text) else texts[text])
        return {text: judged(reader(text, muster), folder / text) for text in sorted(texts)}


def judged(read: Callable[[Path], object], text: Path) -> Exception | None:
    try:
        read(text)
    except (Skipped, Wrong) as said:
        return said
    return None


def reader(name: str, muster: Path) -> Callable[[Path], object]:
    if is_unit(name):
        return systemd
    if name.endswith(".plist"):
        return plist
    return {
        "muster.toml": lambda text: needs(muster, "check-config", "--runtime-dir", "/run/muster", "--state-dir", "/var/lib/muster", text),
        "sshd_config": sshd,
        "ssh_config": lambda text: needs("ssh", "-G", "-F", text, "big"),
        "authorized_keys": lambda text: authorized_keys(text, muster),
        "commands": lambda text: commands(text, muster),
        "nix.conf": nix_conf,
    }[name]


def is_unit(name: str) -> bool:
    return name.endswith((".service", ".socket", ".path"))


def without_store(unit: str) -> str:
    """systemd wants the programs to exist, and no package was built."""
    return re.sub(r'/nix/store/[^ "\n]*/bin/[^ "\n]+', "/bin/true", unit)


def needs(program: Path | str, *words: Path | str) -> str:
    """Runs it; it has to succeed."""
    if not shutil.which(program):
        raise Skipped(f"there is no {program}")
    said = subprocess.run([program, *words], capture_output=True, text=True, timeout=60)
    if said.returncode:
        raise Wrong(said.stderr.strip() or said.stdout.strip() or f"exit code {said.returncode}")
    return said.stdout + said.stderr


def systemd(unit: Path) -> None:
    """It prints what it does not know, and succeeds all the same. The other units lie beside this one."""
    said = needs("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit)
    if about := [line for line in said.splitlines() if unit.name in line]:
        raise Wrong("\n".join(about))
    if unit.name in LOCKED and "User=root" not in unit.read_text():
        locked_down(unit)


def locked_down(unit: Path) -> None:
    """systemd's own marks, from 0 to 10, for what a service may do; ours is in tenths."""
    said = subprocess.run(["systemd-analyze", "security", "--no-pager", "--offline=true", f"--threshold={EXPOSURE}", unit], capture_output=True, text=True, timeout=60)
    if "unrecognized option" in said.stderr:
        raise Skipped("this systemd gives no marks to files")
    if said.returncode:
        raise Wrong((said.stderr + said.stdout).strip().rpartition("\n")[2])


def sshd(config: Path) -> None:
    """The whole, and what holds for the builders' user. Newer ones write their keywords with capitals."""
    program, *words = sshd_command()
    key = config.with_name("host_key")
    if not key.exists():
        needs("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    # sshd wants that directory, and only root can make it; sshd never gets further than reading here.
    options: list[Path | str] = ["-f", config, "-h", key, "-o", "UsePAM=no"]
    try:
        needs(program, *words, "-t", *options)
        said = needs(program, *words, "-T", "-C", "user=remotebuild,host=b1,addr=10.0.0.1", *options).lower()
    except Wrong as wrong:
        if "rivilege separation" in str(wrong):
            raise Skipped("sshd has no directory for privilege separation here") from wrong
        raise
    for line in ("clientaliveinterval 15", "allowstreamlocalforwarding local", "allowtcpforwarding no"):
        if line not in said:
            raise Wrong(f"for remotebuild, sshd does not take it as '{line}'")
    other = needs(program, *words, "-T", "-C", "user=eva,host=b1,addr=10.0.0.1", *options).lower()
    if "allowtcpforwarding yes" not in other:
        raise Wrong("what is said of remotebuild holds for others as well")


def sshd_command() -> list[str]:
    """This machine's sshd, or that of one of the lab's root file systems, which root may enter."""
    if program := shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        return [program]
    if os.geteuid() == 0 and (REPOSITORY / "target/roots/sid/usr/sbin/sshd").exists():
        return [str(REPOSITORY / "checks/lab/enter"), "sid", "--", "sh", "-c", 'mkdir -p /run/sshd; exec /usr/sbin/sshd "$@"', "sshd"]
    raise Skipped("there is no sshd")


def authorized_keys(text: Path, muster: Path) -> None:
    """It is a key, bound to a command that muster has."""
    needs("ssh-keygen", "-l", "-f", text)
    bound = re.match(r'restrict,command="[^" ]*/muster ([a-z ]+)" (sk-)?ssh-', text.read_text())
    if not bound:
        raise Wrong("the key is not bound to a command of muster's")
    needs(muster, *bound[1].split(), "--help")


def commands(text: Path, muster: Path) -> None:
    """Each line is one of muster's commands, with options that it has."""
    for line in text.read_text().splitlines():
        # With `--help` behind the words it does nothing, and still reads each of them.
        needs(muster, *shlex.split(line), "--help")


def nix_conf(config: Path) -> None:
    """Whichever name the command has in this version. A key that Nix does not know is a warning only."""
    folder = config.parent / "nix"
    folder.mkdir(exist_ok=True)
    shutil.copy(config, folder / "nix.conf")
    environment = {**os.environ, "NIX_CONF_DIR": str(folder), "NIX_USER_CONF_FILES": "/dev/null"}
    if not shutil.which("nix"):
        raise Skipped("there is no nix")
    said = subprocess.run(["nix", "--extra-experimental-features", "nix-command", "show-config"], env=environment, capture_output=True, text=True, timeout=60)
    wrong = [line for line in said.stderr.splitlines() if "unknown setting" in line or line.startswith("error")]
    if said.returncode or wrong:
        raise Wrong("\n".join(wrong) or said.stderr)


def plist(text: Path) -> None:
    try:
        daemon = plistlib.loads(text.read_bytes())
    except Exception as error:  # plistlib raises what its XML parser does
        raise Wrong(f"no property list: {error}") from error
    for key in ("Label", "ProgramArguments", "KeepAlive"):
        if not daemon.get(key):
            raise Wrong(f"launchd wants {key}")
