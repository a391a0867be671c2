"""ssh keys, made by a root file system's own ssh-keygen, fresh for each run."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Iterable

SCRIPT = 'cd /mnt; for name; do ssh-keygen -q -t ed25519 -N "" -C "$name" -f "$name"; done'


def make(root: Path, directory: Path, names: Iterable[str]) -> None:
    """Makes NAME and NAME.pub in `directory`. The mount is seen in the box only."""
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "--bind", directory, root / "mnt"], check=True)
    try:
        subprocess.run(["chroot", root, "sh", "-euc", SCRIPT, "keys", *names], check=True, timeout=30)
    finally:
        subprocess.run(["umount", root / "mnt"], check=True)
