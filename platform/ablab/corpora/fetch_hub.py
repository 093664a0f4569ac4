"""Datasets of the Hugging Face Hub, read by `datasets` and laid down as `ablab.corpora.hub` says.

The loader says which files a split has. They are received here, because `huggingface_hub` does not take up a download
that was killed; then the same loader reads them, and each split becomes a parquet file with its text alone.
`HF_ENDPOINT` and `HF_TOKEN` are the settings of `huggingface_hub`; without a token public datasets are fetched.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from ablab.corpora.fetch_http import AGAIN, Progress, download, enough_space
from ablab.corpora.hub import DESCRIPTION, ContentDigest, hub_folder
from ablab.corpora.sources import FILES
from ablab.errors import RunError, did_you_mean
from ablab.settings import redact
from ablab.spec.corpus import HubSource
from ablab.store.files import read_json, sha256_file, write_json

UNFINISHED = f"{DESCRIPTION}.part"
_ROWS = 10_000  # of a row group
_CORRECT = "correct the declaration and repeat the command"


def hub_splits(source: HubSource) -> dict[str, str]:
    """The dataset's name of every split that it gives, by our name."""
    named = {split: getattr(source, split) for split in FILES}
    return {split: name for split, name in named.items() if name is not None}


def finished_splits(folder: Path) -> tuple[dict[str, Any], bool]:
    """What `dataset.json` says of the splits that are there, and whether the fetch came to its end."""
    for name in (DESCRIPTION, UNFINISHED):
        if (folder / name).is_file():
            try:
                splits = read_json(folder / name)["splits"].items()
            except (ValueError, KeyError, TypeError, AttributeError):
                return {}, False  # damaged: fetched anew
            return {split: of for split, of in splits if (folder / f"{split}.parquet").is_file()}, name == DESCRIPTION
    return {}, False


def fetch_hub(source: HubSource, data: Path, progress: Progress) -> tuple[list[Path], str]:
    """Bring a dataset; the files brought, and a line on the digests that were checked. Raises RunError.

    Splits that an earlier call finished are kept.
    """
    folder = hub_folder(data, source)
    folder.mkdir(parents=True, exist_ok=True)
    finished, _ = finished_splits(folder)
    todo = {split: name for split, name in hub_splits(source).items() if split not in finished}
    write_json(folder / UNFINISHED, _description(source, finished))
    (folder / DESCRIPTION).unlink(missing_ok=True)
    received: dict[str, Path] = {}
    checked = "every split was there"
    if todo:
        with _one_message(source):
            builder = _builder(source)
            files = _files(builder, todo.values(), source)
            received, checked = _receive(source, files, data / "downloads", progress)
            builder.config.data_files = _local(files, received)
            for split, name in todo.items():
                finished[split] = _write(builder, name, source, folder / f"{split}.parquet", progress)
                write_json(folder / UNFINISHED, _description(source, finished))
    (folder / UNFINISHED).replace(folder / DESCRIPTION)
    for path in received.values():
        path.unlink(missing_ok=True)  # equal files are one
    return [folder / f"{split}.parquet" for split in todo], checked


def _description(source: HubSource, splits: Mapping[str, Any]) -> dict[str, Any]:
    return {"repo": source.repo, "revision": source.revision, "config": source.config, "splits": splits}


def _builder(source: HubSource) -> Any:
    """The loader of the dataset."""
    import datasets

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # warnings show passwords in addresses
    # hf:// so that a folder of that name in the working directory is not taken for the dataset
    return datasets.load_dataset_builder(f"hf://datasets/{source.repo}", source.config, revision=source.revision)


def _files(builder: Any, wanted: Iterable[str], source: HubSource) -> dict[str, list[str]]:
    """The addresses (hf://) of the files of each split of the dataset that is wanted."""
    files = {str(split): list(map(str, urls)) for split, urls in (builder.config.data_files or {}).items()}
    for name in wanted:
        if name not in files:
            raise RunError(f"{_label(source)} has no split {name!r}; {did_you_mean(name, list(files))}", _CORRECT)
    return {name: files[name] for name in wanted}


def _receive(
    source: HubSource, files: Mapping[str, Sequence[str]], folder: Path, progress: Progress
) -> tuple[dict[str, Path], str]:
    """Where each address lies now, and a line on what was checked. Large files have a SHA-256, small ones git's id."""
    from huggingface_hub import HfApi, hf_hub_url
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    paths = {url.partition(f"@{source.revision}/")[2]: url for urls in files.values() for url in urls}
    listed: list[Any] = HfApi().get_paths_info(source.repo, list(paths), repo_type="dataset", revision=source.revision)
    outside = [paths[path] for path in paths.keys() - {entry.path for entry in listed}]
    if outside:
        raise RunError(
            f"{_label(source)} has files elsewhere ({min(outside)})",
            "save it with `datasets` (save_to_disk), and name its folder as repo in the declaration",
        )
    headers = {name: value for name, value in build_hf_headers().items() if name.lower() == "authorization"}
    received: dict[str, Path] = {}
    targets = {entry.path: folder / f"{_digest(entry)}-{PurePosixPath(entry.path).name}" for entry in listed}
    missing = sum(entry.size for entry in listed if not targets[entry.path].exists())
    enough_space(folder, 2 * missing, f"{_label(source)}, {missing:,} bytes to download and as many to write,")
    for entry in listed:
        target = received[paths[entry.path]] = targets[entry.path]
        if not target.exists():
            url = hf_hub_url(source.repo, entry.path, repo_type="dataset", revision=source.revision)
            download(url, target, _digest(entry), progress, sha256_file if entry.lfs else _git_blob_id, headers)
    return received, f"digests of {len(received)} of {len(paths)} files checked against the Hub's list"


def _digest(entry: Any) -> str:
    return str(entry.lfs.sha256 if entry.lfs else entry.blob_id)


def _git_blob_id(path: Path) -> str:
    """SHA-1 of a file as git counts it."""
    hasher = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            hasher.update(chunk)
    return hasher.hexdigest()


def _local(files: Mapping[str, Sequence[str]], received: Mapping[str, Path]) -> Any:
    """The files of each split as the loader takes them, where they lie now."""
    from datasets.data_files import DataFilesDict, DataFilesList

    local = {name: [str(received[url]) for url in urls] for name, urls in files.items()}
    return DataFilesDict({name: DataFilesList(paths, [(path,) for path in paths]) for name, paths in local.items()})


def _write(builder: Any, name: str, source: HubSource, target: Path, progress: Progress) -> dict[str, Any]:
    """Write the text of a split; what `dataset.json` says of it. A missing text is an empty document."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    known = (builder.info.splits or {}).get(name)
    total = known.num_examples if known else None
    digest, words, done = ContentDigest(), 0, 0
    temporary = target.with_name(f".{target.name}.part")
    with pq.ParquetWriter(temporary, pa.schema([("text", pa.string())]), compression="zstd") as writer:
        for table in builder.as_streaming_dataset(split=name).with_format("arrow").iter(batch_size=_ROWS):
            texts = [text or "" for text in _texts(table, source)]
            writer.write_batch(pa.record_batch([pa.array(texts, pa.string())], ["text"]))
            for text in texts:
                digest.add(text)
                words += len(text.split())
            done += len(texts)
            progress(f"{source.name}: writing {target.name}", done, total, "documents")
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(target)
    return {"digest": digest.hexdigest(), "documents": done, "words": words}


def _texts(table: Any, source: HubSource) -> list[str | None]:
    """The text column of a table."""
    texts = [field.name for field in table.schema if str(field.type) in ("string", "large_string", "string_view")]
    if source.text_field not in texts:
        near = did_you_mean(source.text_field, texts)
        raise RunError(f"{_label(source)} has no text in a column {source.text_field!r}; {near}", _CORRECT)
    found: list[str | None] = table.column(source.text_field).to_pylist()
    return found


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
