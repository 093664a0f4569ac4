"""Sources of the BabyLM layout from zip archives: download once, take out only what is missing."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

from ablab.corpora.fetch_http import Progress, download, enough_space
from ablab.corpora.paths import absolute
from ablab.corpora.sources import FILES
from ablab.errors import RunError, did_you_mean
from ablab.spec.corpus import Archive, BabyLMSource


def babylm_file(source: BabyLMSource, split: str, data: Path) -> Path:
    """Where the layout has the file of a split."""
    suffix = FILES[split]
    return absolute(source.path, data) / suffix / f"{source.name}.{suffix}"


def archive_file(archive: Archive, data: Path) -> Path:
    """Where an archive lies once it is verified; several sources share it."""
    return data / "downloads" / f"{archive.sha256}.zip"


def fetch_babylm(source: BabyLMSource, data: Path, progress: Progress) -> list[Path]:
    """Bring the missing files of a source that its archives hold; the files brought. Raises RunError."""
    brought = []
    for split in FILES:  # not in the order of the declaration: dumps of it sort
        archive = source.archives.get(split)  # type: ignore[call-overload]
        target = babylm_file(source, split, data)
        if archive is None or target.exists():
            continue
        zipped = archive_file(archive, data)
        if not zipped.exists():
            download(archive.url, zipped, archive.sha256, progress)
        extract(zipped, f"{archive.folder}/{target.name}", target, archive.url)
        brought.append(target)
    return brought


def extract(zipped: Path, member: str, target: Path, url: str) -> None:
    """Write one member of an archive to `target`, whole or not at all. No name in the archive becomes a path.

    Raises RunError: not a zip file, no such member, encrypted or damaged, the disk is full.
    """
    temporary = target.with_name(f"{target.name}.part")
    try:
        with zipfile.ZipFile(zipped) as archive:
            names = archive.namelist()
            if member not in names:
                raise RunError(
                    f"the archive of {url} holds no {member!r}; {did_you_mean(member, names[:50])}",
                    "correct folder or name in the declaration",
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            enough_space(target.parent, archive.getinfo(member).file_size, str(target))
            with archive.open(member) as packed, temporary.open("wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)
                file.flush()
                os.fsync(file.fileno())
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise RunError(
            f"{member} cannot be taken from the archive of {url}: {error}",
            f"remove {zipped} and repeat the command; if it says the same again, correct the declaration",
        ) from error
    temporary.replace(target)
