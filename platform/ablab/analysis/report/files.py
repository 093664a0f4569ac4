"""Single files of finished stages, as they were recorded."""

from __future__ import annotations

import hashlib

from ablab.errors import RunError
from ablab.store import Store


def checked_bytes(store: Store, kind: str, key: str, name: str) -> bytes:
    """A file of a finished stage. Raises `RunError` where it is missing or not what its manifest recorded.

    A stage may hold gigabytes of checkpoints beside the file, so it is not verified as a whole.
    """
    path = store.directory(kind, key) / name
    entry = store.manifest(kind, key)["files"].get(name)
    content = path.read_bytes() if path.is_file() else None
    if entry is None or content is None or hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise RunError(
            f"{kind} {key[:12]} is damaged: {name} is not what its manifest recorded",
            "run the ablation again: it is computed anew",
        )
    return content
