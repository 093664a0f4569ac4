"""How much room removing files gives back: blocks on the disk, a file with several names counted once."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = 512  # bytes; what st_blocks counts


@dataclass
class Space:
    """Adds up what removing paths frees, one after another."""

    _names: dict[tuple[int, int], int] = field(default_factory=dict)
    _counted: set[Path] = field(default_factory=set)
    _blocks: dict[tuple[int, int], int] = field(default_factory=dict)

    def freed(self, *paths: Path) -> int:
        """Bytes that are freed when these files and directories go too. Of a file with several names, nothing
        before its last name goes."""
        total = 0
        for path in (file for top in paths for file in _files(top)):
            if path in self._counted:
                continue
            try:
                found = path.lstat()
            except FileNotFoundError:
                continue  # another process removed it meanwhile
            self._counted.add(path)
            inode = (found.st_dev, found.st_ino)
            self._names[inode] = self._names.get(inode, 0) + 1
            self._blocks[inode] = found.st_blocks * BLOCK
            if self._names[inode] == found.st_nlink:
                total += self._blocks.pop(inode)
        return total

    def held_elsewhere(self) -> int:
        """Bytes of files that have names beside those that go: they stay."""
        return sum(self._blocks.values())


def _files(top: Path) -> Iterator[Path]:
    """The files at and below a path; nothing for one that is gone."""
    try:
        if not stat.S_ISDIR(top.lstat().st_mode):
            yield top
            return
    except FileNotFoundError:
        return
    for folder, _, names in os.walk(top):
        yield from (Path(folder) / name for name in sorted(names))
