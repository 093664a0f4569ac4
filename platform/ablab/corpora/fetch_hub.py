"""Datasets of the Hugging Face Hub: downloaded and read by `datasets`, laid down as `ablab.corpora.hub` says.

`huggingface_hub` keeps the downloaded files in its own cache (`HF_HOME`) and resumes them; `HF_ENDPOINT` and `HF_TOKEN`
are its settings. `datasets` prepares every split, in `ABLAB_DATA/downloads/datasets`, which is emptied at the end; then
each split becomes a parquet file with its text alone.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ablab.corpora.fetch_http import AGAIN, Progress, enough_space
from ablab.corpora.hub import DESCRIPTION, ContentDigest, hub_folder
from ablab.corpora.sources import FILES
from ablab.errors import RunError, did_you_mean
from ablab.settings import redact
from ablab.spec.corpus import HubSource
from ablab.store.files import read_json, sha256_file, write_json

UNFINISHED = f"{DESCRIPTION}.part"
_ROWS = 1_000  # of a batch
_GROUP = 100  # batches of a row group
_CORRECT = "correct the declaration and repeat the command"


def hub_splits(source: HubSource) -> dict[str, str]:
    """The dataset's name of every split that it gives, by our name."""
    named = {split: getattr(source, split) for split in FILES}
    return {split: name for split, name in named.items() if name is not None}


def fetch_hub(source: HubSource, data: Path, progress: Progress) -> tuple[list[Path], str]:
    """Bring a dataset; the files brought, and a line on the digests that were checked. Raises RunError.

    Splits that an earlier call finished are kept.
    """
    folder = hub_folder(data, source)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / UNFINISHED
    if (folder / DESCRIPTION).exists():  # of a fetch that ended, and whose files were removed afterwards
        (folder / DESCRIPTION).replace(unfinished)
    finished: dict[str, Any] = read_json(unfinished)["splits"] if unfinished.exists() else {}
    finished = {split: entry for split, entry in finished.items() if (folder / f"{split}.parquet").is_file()}
    write_json(unfinished, _description(source, finished))
    cache = data / "downloads" / "datasets" / source.repo.replace("/", "--")
    brought = []
    with _one_message(source):
        prepared, checked = _prepare(source, cache)
        for split, name in hub_splits(source).items():
            if split in finished:
                continue
            target = folder / f"{split}.parquet"
            finished[split] = _write(prepared[name], source, target, progress)
            write_json(unfinished, _description(source, finished))
            brought.append(target)
        unfinished.replace(folder / DESCRIPTION)
        shutil.rmtree(cache)
    return brought, checked


def _description(source: HubSource, splits: Mapping[str, Any]) -> dict[str, Any]:
    return {"repo": source.repo, "revision": source.revision, "config": source.config, "splits": splits}


def _prepare(source: HubSource, cache: Path) -> tuple[Any, str]:
    """The prepared splits (a `DatasetDict`) and what was checked of them."""
    import datasets

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()  # those of huggingface_hub as well
    # hf:// so that a folder of that name in the working directory is not taken for the dataset
    builder = datasets.load_dataset_builder(
        f"hf://datasets/{source.repo}", source.config, revision=source.revision, cache_dir=str(cache)
    )
    files = {str(split): list(map(str, urls)) for split, urls in (builder.config.data_files or {}).items()}
    for name in hub_splits(source).values():
        if name not in files:
            raise RunError(f"{_label(source)} has no split {name!r}; {did_you_mean(name, list(files))}", _CORRECT)
    listed = _listed(source, [url for urls in files.values() for url in urls])
    size = sum(entry.size for entry in listed)
    # tables take about twice the room of compressed files, and ours about as much as these
    room = size + (builder.info.dataset_size or 2 * size)
    enough_space(cache, room, f"{_label(source)} ({size:,} bytes to download)")
    checked = _download(source, listed)
    builder.download_and_prepare()
    return builder.as_dataset(), checked


def _listed(source: HubSource, urls: Sequence[str]) -> list[Any]:
    """What the Hub says of each file: path, size, and of large files the SHA-256."""
    from huggingface_hub import HfApi

    paths = [url.partition(f"@{source.revision}/")[2] for url in urls]
    return HfApi().get_paths_info(source.repo, paths, repo_type="dataset", revision=source.revision)


def _download(source: HubSource, listed: Sequence[Any]) -> str:
    """Bring every file into the cache of huggingface_hub, where `datasets` finds it; what was checked.

    The Hub lists the SHA-256 of large files (LFS) alone. Raises RunError when one has another.
    """
    from huggingface_hub import hf_hub_download

    checked = 0
    for entry in listed:
        file = Path(hf_hub_download(source.repo, entry.path, repo_type="dataset", revision=source.revision))
        if entry.lfs is None:
            continue
        checked += 1
        found = sha256_file(file)
        if found != entry.lfs.sha256:
            file.resolve().unlink()
            raise RunError(
                f"{_label(source)}: {entry.path} has the SHA-256 {found}, but the Hub lists {entry.lfs.sha256}; "
                "it was removed",
                "repeat the command",
            )
    return f"SHA-256 of {checked} of {len(listed)} files checked against the Hub, which lists no others"


def _write(rows: Any, source: HubSource, target: Path, progress: Progress) -> dict[str, Any]:
    """Write the text of a split; what `dataset.json` says of it. A missing text is an empty document."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    field = source.text_field
    feature = rows.features.get(field)
    if feature is None or getattr(feature, "dtype", None) not in ("string", "large_string"):
        texts = [
            name for name, one in rows.features.items() if getattr(one, "dtype", None) in ("string", "large_string")
        ]
        raise RunError(f"{_label(source)} has no text in a column {field!r}; {did_you_mean(field, texts)}", _CORRECT)
    digest, words, done = ContentDigest(), 0, 0
    what = f"{source.name} {target.stem}"
    temporary = target.with_name(f".{target.name}.part")
    schema = pa.schema([("text", pa.string())])
    with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for batch in rows.select_columns([field]).iter(batch_size=_ROWS):
            texts = [text or "" for text in batch[field]]
            writer.write_batch(pa.record_batch([pa.array(texts, pa.string())], schema=schema), row_group_size=_ROWS)
            for text in texts:
                digest.add(text)
                words += len(text.split())
            done += len(texts)
            progress(what, done, len(rows), "documents")
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(target)
    return {"digest": digest.hexdigest(), "documents": done, "words": words}


@contextmanager
def _one_message(source: HubSource) -> Iterator[None]:
    """What `datasets` and `huggingface_hub` raise becomes one RunError with the address and how to go on."""
    from datasets.exceptions import DatasetsError
    from huggingface_hub import constants
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of its HTTP library, whichever it is

    try:
        yield
    except (OSError, ValueError, HTTPError, DatasetsError) as error:
        lines = [line for one in (error, error.__cause__) if one is not None for line in str(one).splitlines()[:1]]
        address = f"{redact(constants.ENDPOINT)}/datasets/{source.repo}"
        raise RunError(
            f"{_label(source)}, {address}: {': '.join(dict.fromkeys(lines)) or type(error).__name__}",
            f"correct what is named; finished files are kept, {AGAIN}",
        ) from error


def _label(source: HubSource) -> str:
    config = f" ({source.config})" if source.config else ""
    return f"the Hub dataset {source.repo}{config} at {str(source.revision)[:12]}"
