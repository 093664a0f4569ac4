"""Datasets on disk, read in bounded memory: what `ablab data fetch` brought, and what `datasets` itself saved.

A saved dataset is read where it lies, from its own Arrow files: every split is a folder with `state.json`, which names
its files, and above the splits `dataset_dict.json` names them. So planning needs no `datasets`, whose import is slow.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from ablab.corpora.formats import UnusableFile, check_column, column_texts, parquet_texts

SAVED_SPLITS, SAVED_STATE = "dataset_dict.json", "state.json"

_ROWS = 128  # of a saved dataset that are made into strings at once


def dataset_texts(path: Path, column: str) -> Iterator[str]:
    """The texts of one split, also those without words: `<split>.parquet`, or the folder of a saved split.

    column: of the saved split; that of the parquet file is always `text`. Raises UnusableFile and OSError.
    """
    try:
        if path.is_dir():
            yield from _saved_texts(path, column)
        else:
            with path.open("rb") as file:
                yield from parquet_texts(file, "text")
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk, not the content
            raise
        raise UnusableFile(f"the file is damaged ({error}); get it again") from error


def saved_splits(folder: Path) -> dict[str, Path]:
    """The folders of the splits of a saved dataset by their names; "" for a dataset without splits.

    Raises UnusableFile for a folder that is no saved dataset.
    """
    if (folder / SAVED_STATE).is_file():
        return {"": folder}
    if not (folder / SAVED_SPLITS).is_file():
        raise UnusableFile(
            f"holds no dataset saved by datasets' save_to_disk ({SAVED_SPLITS} or {SAVED_STATE}); save it there"
        )
    names = _json(folder / SAVED_SPLITS).get("splits")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UnusableFile(f"{SAVED_SPLITS} names no splits; save the dataset again")
    return {name: folder / name for name in names}


def saved_files(folder: Path) -> list[Path]:
    """The Arrow files of a saved split, in order. Raises UnusableFile."""
    files = _json(folder / SAVED_STATE).get("_data_files")
    if not isinstance(files, list) or not all(isinstance(file, dict) and "filename" in file for file in files):
        raise UnusableFile(f"{SAVED_STATE} names no files; save the dataset again")
    return [folder / str(file["filename"]) for file in files]


def _saved_texts(folder: Path, column: str) -> Iterator[str]:
    import pyarrow as pa  # here, so that planning needs pyarrow only where such a source is

    for path in saved_files(folder):
        with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
            check_column(reader.schema, column)
            batches = (batch.column(column) for batch in reader)
            slices = (array.slice(at, _ROWS) for array in batches for at in range(0, len(array), _ROWS))
            yield from column_texts(slices, column)


def _json(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnusableFile(f"{path.name} cannot be read ({error}); save the dataset again") from error
    return content if isinstance(content, dict) else {}
