"""What kind of file system a path lies on, and whether it is one of a network."""

from __future__ import annotations

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")

NETWORKS = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "9p",
    "ceph",
    "lustre",
    "beegfs",
    "gpfs",
    "afs",
    "fuse.sshfs",
    "fuse.glusterfs",
}


def file_system(path: Path, mounts: Path = MOUNTS) -> str:
    """The type of the file system of an existing path, as Linux calls it; empty where that is not known."""
    if not mounts.is_file():
        return ""
    found = {}
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        _, place, kind, *_ = line.split(" ")
        unescaped = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), place)  # a space is \040
        found[Path(unescaped)] = kind  # the last mount hides those before it
    above = [place for place in (path.resolve(), *path.resolve().parents) if place in found]
    return found[above[0]] if above else ""
