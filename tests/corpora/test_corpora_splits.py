"""Law 7: no document is in two splits; overlap between splits is reported."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from corpora_helper import WORLD, build_corpus, documents, first_source, held, recipe, source
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablab.corpora.fingerprints import fingerprint
from ablab.corpora.resolve import resolve_recipe
from ablab.corpora.sources import FILES
from ablab.corpora.splits import SPLITS, build_splits
from ablab.corpora.streams import read_documents
from ablab.errors import InputError, RunError
from ablab.spec import edit


def unheard(words: int) -> None:
    assert words > 0


def two_sources(layout: Any, train: int = 60) -> Path:
    """Two sources of 24-word documents, all different."""
    names = ("one", "two")
    sizes = {"train": train, "validation": 12, "test": 12}
    seeds = {(name, split): 10 * i + j for i, name in enumerate(names) for j, split in enumerate(sizes)}
    folder: Path = layout(
        {name: {split: documents(n, seeds[name, split]) for split, n in sizes.items()} for name in names}
    )
    return folder


def test_splits_are_disjoint_and_complete(layout: Any, run_stage: Any, tmp_path: Path) -> None:
    folder = two_sources(layout)
    directory = build_corpus(
        run_stage, resolve_recipe(recipe([source("one", folder), source("two", folder)]), tmp_path)
    )
    result = json.loads((directory / "result.json").read_text())
    marks = [fingerprint(text) for split in SPLITS for text in held(directory, split)]
    assert len(marks) == len(set(marks)) == 2 * (60 + 12 + 12)
    assert result["duplicates_removed"] == 0
    for split in SPLITS:
        rows = list(read_documents(directory, split))
        assert result["splits"][split] == {"documents": len(rows), "words": sum(len(t.split()) for *_, t in rows)}
        for name in ("one", "two"):
            own = [text for _, of, text in rows if of == name]
            assert result["sources"][name][split] == {"documents": len(own), "words": sum(len(t.split()) for t in own)}


def test_every_source_gives_its_share_to_the_prompts(layout: Any, run_stage: Any, tmp_path: Path) -> None:
    folder = two_sources(layout)
    resolved = resolve_recipe(
        recipe([source("one", folder), source("two", folder)], edits={"corpus.seed_share": 0.1}), tmp_path
    )
    result = json.loads((build_corpus(run_stage, resolved) / "result.json").read_text())
    assert [result["sources"][name]["seed"]["documents"] for name in ("one", "two")] == [6, 6]


WORDS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=2).map(" ".join)
# NFKC makes the ligature, the full-width letter and the no-break space equal to plain ones
VARIANTS = st.sampled_from(["{}", "  {} ", "{}\n", "\u00a0{}"])
FILE = st.lists(st.builds(lambda words, form: form.format(words), WORDS, VARIANTS), min_size=1, max_size=20)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(train=FILE, validation=FILE, test=FILE, share=st.floats(0.01, 0.9))
def test_no_document_is_in_two_splits_whatever_the_files_share(
    layout: Any, tmp_path: Path, train: list[str], validation: list[str], test: list[str], share: float
) -> None:
    files = {"train": train, "validation": validation, "test": test}
    folder = layout({"one": {split: "\n\n".join(documents) for split, documents in files.items()}})
    paths = {split: folder / FILES[split] / f"one.{FILES[split]}" for split in files}
    digests = {split: hashlib.sha256(path.read_bytes()).hexdigest() for split, path in paths.items()}
    corpus = recipe([source("one", folder) | {"digests": digests}], edits={"corpus.seed_share": share}).corpus
    locations = {digests[split]: paths[split] for split in files}
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    unique = {split: {fingerprint(text) for text in of} for split, of in files.items()}
    kept = {
        "test": unique["test"],
        "validation": unique["validation"] - unique["test"],
        "train": unique["train"] - unique["validation"] - unique["test"],
    }
    try:
        result = build_splits(corpus, locations, out, tmp_path, unheard)
    except RunError as error:
        assert "duplicates" in str(error)
        assert not kept["validation"] or len(kept["train"]) < 2
        return
    found = {split: [fingerprint(text) for text in held(out, split)] for split in SPLITS}
    assert all(len(set(of)) == len(of) for of in found.values())
    assert set(found["test"]) == kept["test"]
    assert set(found["validation"]) == kept["validation"]
    assert set(found["train"]) | set(found["seed"]) == kept["train"]
    assert not set(found["train"]) & set(found["seed"])
    assert result["duplicates_removed"] == sum(map(len, files.values())) - sum(map(len, found.values()))


def test_of_equal_documents_the_held_out_one_is_kept(layout: Any, run_stage: Any, tmp_path: Path) -> None:
    shared = "the very same document in train and in test"
    folder = layout(
        {
            "one": {
                "train": f"{shared}\n\n{documents(50)}\n{shared}\n",
                "validation": documents(10, 1),
                "test": f"{documents(10, 2)}\n{shared}\n",
            }
        }
    )
    directory = build_corpus(run_stage, resolve_recipe(recipe([source("one", folder)]), tmp_path))
    assert shared in held(directory, "test")
    assert shared not in held(directory, "train") + held(directory, "seed")
    assert json.loads((directory / "result.json").read_text())["duplicates_removed"] == 2


def test_the_choice_of_prompts_does_not_depend_on_the_order_of_documents(layout: Any, tmp_path: Path) -> None:
    blocks = documents(80).strip().split("\n\n")
    chosen = []
    for order in (blocks, blocks[::-1]):
        folder = layout(
            {"one": {"train": "\n\n".join(order), "validation": documents(10, 1), "test": documents(10, 2)}}
        )
        resolved = resolve_recipe(recipe([source("one", folder)]), tmp_path)
        locations = {
            value: folder / FILES[s] / f"one.{FILES[s]}" for s, value in first_source(resolved).digests.items()
        }
        build_splits(resolved.corpus, locations, tmp_path, tmp_path, unheard)
        chosen.append(set(held(tmp_path, "seed")))
    assert len(chosen[0]) == 4
    assert chosen[0] == chosen[1]


def test_another_split_seed_chooses_other_prompts(run_stage: Any, tmp_path: Path) -> None:
    tiny = recipe([WORLD])
    seeds = [
        held(build_corpus(run_stage, resolve_recipe(edit(tiny, {"corpus.split_seed": seed}), tmp_path)), "seed")
        for seed in (1, 2)
    ]
    assert len(seeds[0]) == len(seeds[1]) > 5
    assert set(seeds[0]) != set(seeds[1])


def test_any_beginning_of_a_held_out_split_samples_all_sources(layout: Any, run_stage: Any, tmp_path: Path) -> None:
    folder = two_sources(layout, train=400)
    both = recipe([source("one", folder), source("two", folder)])
    directory = build_corpus(run_stage, resolve_recipe(both, tmp_path))
    for split in ("seed", "validation", "test"):
        names = [name for _, name, _ in read_documents(directory, split)]
        first = names[: len(names) // 2]
        assert {"one", "two"} == set(first), split
        assert names != sorted(names)


def test_equal_recipes_give_equal_bytes(run_stage: Any, tmp_path: Path) -> None:
    resolved = resolve_recipe(recipe([WORLD]), tmp_path)
    first, second = (build_corpus(run_stage, resolved) for _ in range(2))
    for name in ("result.json", *(f"{split}.parquet" for split in SPLITS)):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_overlap_is_the_share_of_distinct_13_grams_that_train_holds(
    layout: Any, run_stage: Any, tmp_path: Path
) -> None:
    run = " ".join(f"x{i}" for i in range(20))  # 8 13-grams
    folder = layout(
        {
            "one": {
                "train": f"{documents(50)}\nbefore {run} behind\n\nover {run} under\n\n{documents(50, 4)}",
                "validation": f"{run} and then {run}\n",  # 8 of 22 distinct 13-grams
                "test": documents(10, 2),
            }
        }
    )
    resolved = resolve_recipe(recipe([source("one", folder)], edits={"model.context": 32}), tmp_path)
    overlap = json.loads((build_corpus(run_stage, resolved) / "result.json").read_text())["overlap"]
    assert overlap.keys() == {"seed", "validation", "test"}
    assert (overlap["validation"], overlap["test"]) == (8 / 22, 0.0)


def test_a_source_that_duplicates_leave_empty_is_an_error(layout: Any, run_stage: Any, tmp_path: Path) -> None:
    folder = layout(
        {"one": {"train": "same words here\n\n" * 100, "validation": documents(9), "test": documents(9, 1)}}
    )
    told = "source 'one' has 1 train documents once duplicates are removed"
    digests = {
        split: hashlib.sha256((folder / FILES[split] / f"one.{FILES[split]}").read_bytes()).hexdigest()
        for split in FILES
    }
    with pytest.raises(RunError, match=told):
        build_corpus(run_stage, recipe([source("one", folder) | {"digests": digests}]))
    with pytest.raises(InputError, match=told):  # so small a corpus is tried before anything is computed
        resolve_recipe(recipe([source("one", folder)]), tmp_path)


def test_a_corpus_file_that_changed_after_resolving_stops_the_stage(
    layout: Any, run_stage: Any, tmp_path: Path
) -> None:
    folder = two_sources(layout)
    resolved = resolve_recipe(recipe([source("one", folder), source("two", folder)]), tmp_path)
    (folder / "train" / "two.train").write_text(documents(61))
    with pytest.raises(RunError, match=r"two\.train changed since the run began"):
        build_corpus(run_stage, resolved)


@pytest.mark.data
def test_real_text_has_no_document_in_two_splits(shared_data: Path, run_stage: Any, tmp_path: Path) -> None:
    names = ("childes", "gutenberg", "simple_wiki")
    sources = [source(name, "corpora/babylm", words=60_000, evaluation_words=10_000) for name in names]
    directory = build_corpus(run_stage, resolve_recipe(recipe(sources), shared_data, tmp_path / "files.json"))
    marks = [fingerprint(text) for split in SPLITS for text in held(directory, split)]
    assert len(marks) == len(set(marks))
    result = json.loads((directory / "result.json").read_text())
    assert 170_000 < sum(result["splits"][split]["words"] for split in ("train", "seed")) <= 180_000
    assert all(share < 0.01 for share in result["overlap"].values())
