"""The stage: its contract, its refusals, and the same bytes however it was interrupted."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from ablab.errors import RunError
from ablab.generate.stage import generate
from ablab.generate.text import Vocabulary
from ablab.store.context import Progress, StageContext

Contexts = Callable[..., StageContext]
Params = Callable[..., dict[str, Any]]
# A change of these words needs a new `revision` of the kind `generate`.
PINNED = "5837ada78b1891e771a24a57606ce24b0d88addd672d05c77ea975a1e95cddec"


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def recorder(calls: list[tuple[int, int, str, str]]) -> Progress:
    def progress(done: int, total: int, unit: str, note: str = "") -> None:
        calls.append((done, total, unit, note))

    return progress


def sequences(folder: Path, length: int = 20) -> np.ndarray[Any, np.dtype[np.uint16]]:
    return np.fromfile(folder / "sequences.bin", dtype="<u2").reshape(-1, length)


def test_files_and_result_hold_to_the_contract(context: Contexts, params: Params, vocabulary: Vocabulary) -> None:
    calls: list[tuple[int, int, str, str]] = []
    ctx = context(params(), progress=recorder(calls))
    result = generate(ctx)
    words = sequences(ctx.out)
    table = pq.read_table(ctx.out / "train.parquet").to_pydict()
    assert sorted(path.name for path in ctx.out.iterdir()) == ["sequences.bin", "steps.json", "train.parquet"]
    assert words.shape == (10, 20)
    assert not np.isin(words, [vocabulary.pad, vocabulary.unknown]).any()
    assert (words[:, 0] == vocabulary.begin).all()
    assert np.array_equal(words[: 10 - result["prompts"], :8], words[result["prompts"] :, :8])
    assert set(table["source"]) == {"synthetic"}
    expected = vocabulary.documents(words.astype(np.int64))
    assert table["text"] == [text for texts in expected for text in texts]
    assert table["id"] == [f"{row}/{part}" for row, texts in enumerate(expected) for part in range(len(texts))]
    assert result == {
        "sequences": 10,
        "prompts": 6,
        "tokens": 120,
        "documents": len(table["text"]),
        "words": sum(len(text.split()) for text in table["text"]),
        "good_step": 10,
        "bad_step": 5,
        "head_size_mean": result["head_size_mean"],
        "argmax_changed": result["argmax_changed"],
        "kl_good_nats": result["kl_good_nats"],
        "repeated_4grams": result["repeated_4grams"],
        "duplicates_removed": 0,
        "compression": result["compression"],
        "probe": result["probe"],
        "stopped": 0,
        "dtype": "uint16",
    }
    assert 1 < result["head_size_mean"] < 258
    assert 0 < result["argmax_changed"] < 1
    assert ctx.costs["tokens"] == 120
    assert ctx.costs["tokens_per_second"] > 0
    assert [call[0] for call in calls] == sorted(call[0] for call in calls)
    assert calls[-1] == (120, 120, "token", "")


def test_pinned_words_change_only_with_the_revision_of_the_kind(context: Contexts, params: Params) -> None:
    ctx = context(params())
    generate(ctx)
    assert digests(ctx.out)["sequences.bin"] == PINNED


def test_strength_zero_never_touches_bad(context: Contexts, params: Params, inputs: dict[str, Path]) -> None:
    good = context(params()).work.parent / "good-alone"
    shutil.copytree(inputs["good"] / "checkpoints" / "step-00000010", good / "checkpoints" / "step-00000010")
    masked = [
        context(params(strength=0.0, bad=bad), name, good=good)
        for name, bad in (("without", None), ("later", {"kind": "early-checkpoint", "step": 99}))
    ]
    results = [generate(ctx) for ctx in masked]
    assert results[0] == results[1]
    assert results[0]["bad_step"] is None
    assert results[0]["argmax_changed"] is None
    assert digests(masked[0].out) == digests(masked[1].out)
    ancestral = generate(context(params(strength=0.0, alpha=0.0, bad=None), "ancestral"))
    assert ancestral["head_size_mean"] == 258.0


def test_a_smaller_corpus_is_the_beginning_of_a_larger_one(context: Contexts, params: Params) -> None:
    small, large = context(params(tokens=12 * 6), "small"), context(params(tokens=12 * 11), "large")
    generate(small)
    generate(large)
    assert np.array_equal(sequences(small.out), sequences(large.out)[:6])


def test_the_generation_seed_alone_changes_the_draws(context: Contexts, params: Params) -> None:
    one, other = context(params(generation_seed=3), "one"), context(params(generation_seed=4), "other")
    generate(one)
    generate(other)
    assert np.array_equal(sequences(one.out)[:, :8], sequences(other.out)[:, :8])
    assert not np.array_equal(sequences(one.out), sequences(other.out))


def test_bfloat16_gives_the_same_bytes_twice_and_not_those_of_float32(context: Contexts, params: Params) -> None:
    one, other, exact = (
        context(params(precision="bf16"), "one"),
        context(params(precision="bf16"), "other"),
        context(params()),
    )
    assert generate(one) == generate(other) != generate(exact)
    assert digests(one.out) == digests(other.out)


def test_the_prompt_is_left_out_of_the_text_when_asked(
    context: Contexts, params: Params, vocabulary: Vocabulary
) -> None:
    ctx = context(params(keep_prompt=False))
    generate(ctx)
    assert sequences(ctx.out).shape == (10, 20)
    new = vocabulary.documents(sequences(ctx.out)[:, 8:].astype(np.int64))
    assert pq.read_table(ctx.out / "train.parquet").column("text").to_pylist() == [t for texts in new for t in texts]


def test_stopped_sequences_are_padded_and_not_counted(
    context: Contexts, params: Params, inputs: dict[str, Path], tmp_path: Path
) -> None:
    good = tmp_path / "good-stopping"
    shutil.copytree(inputs["good"], good)
    for path in good.glob("checkpoints/*/model.safetensors"):
        weights = load_file(path)
        weights["lm_head.weight"][2] *= 6.0  # `</s>` comes up often
        save_file(weights, path)
    ctx = context(params(stop_at_eos=True, strength=0.0, alpha=0.0, bad=None), good=good)
    result = generate(ctx)
    new = sequences(ctx.out)[:, 8:]
    ends = (new == 2).argmax(axis=1)
    stopped = (new == 2).any(axis=1)
    assert 0 < result["stopped"] == stopped.sum() < 10
    for row, end in zip(new[stopped], ends[stopped], strict=True):
        assert (row[end + 1 :] == 3).all()
        assert not np.isin(row[:end], [2, 3]).any()
    assert result["tokens"] == (new != 3).sum() < 120


def test_finished_shards_are_reused_and_damaged_ones_decoded_again(context: Contexts, params: Params) -> None:
    undisturbed = context(params(), "undisturbed")
    result = generate(undisturbed)
    first = context(params())
    generate(first)
    shards = sorted((first.work / "shards").glob("*.shard"))
    assert [path.name for path in shards] == ["00000000.shard", "00000001.shard", "00000002.shard"]
    shards[1].write_bytes(shards[1].read_bytes()[:-1] + b"!")
    shards[2].with_suffix(".part").write_bytes(b"half a shard")
    shards[2].unlink()
    untouched = shards[0].stat().st_mtime_ns
    calls: list[tuple[int, int, str, str]] = []
    again = context(params(), progress=recorder(calls))
    assert generate(again) == result
    assert digests(again.out) == digests(undisturbed.out)
    assert shards[0].stat().st_mtime_ns == untouched
    assert {note for _, _, _, note in calls} == {"", "shard 1 is damaged or of other numerics: decoding it again"}
    finished = context(params())
    assert generate(finished) == result
    assert "tokens_per_second" not in finished.costs


def test_shards_of_other_numerics_are_not_mixed_in(context: Contexts, params: Params) -> None:
    generate(context(params(), rows=4))
    resumed, fresh = context(params(), rows=5), context(params(), "fresh", rows=5)
    assert generate(resumed) == generate(fresh)
    assert digests(resumed.out) == digests(fresh.out)


@pytest.mark.parametrize("selected", [5, 4])
def test_bad_must_be_earlier_than_the_selected_good(
    selected: int, context: Contexts, params: Params, inputs: dict[str, Path], tmp_path: Path
) -> None:
    select, good = tmp_path / "select", tmp_path / "good"
    select.mkdir()
    (select / "result.json").write_text(json.dumps({"step": selected}))
    shutil.copytree(inputs["good"], good)
    shutil.copytree(good / "checkpoints/step-00000010", good / "checkpoints/step-00000004")
    ctx = context(params(), select=select, good=good)
    with pytest.raises(RunError, match=f"BAD's step 5 .* GOOD's selected step {selected}\ndeclare an earlier BAD step"):
        generate(ctx)
    assert not list(ctx.out.iterdir())


def test_an_absent_checkpoint_is_named_with_those_there_are(context: Contexts, params: Params) -> None:
    with pytest.raises(RunError, match="BAD's step 7 has no checkpoint; there are 5, 10"):
        generate(context(params(bad={"kind": "early-checkpoint", "step": 7})))


def test_vocabularies_and_contexts_that_do_not_fit_are_named_together(
    context: Contexts, params: Params, inputs: dict[str, Path], tmp_path: Path, checkpoint: Callable[..., None]
) -> None:
    good = tmp_path / "good-other"
    shutil.copytree(inputs["good"], good)
    shutil.rmtree(good / "checkpoints/step-00000005")
    checkpoint(good / "checkpoints/step-00000005", seed=1, vocab_size=200, context=19)
    with pytest.raises(RunError) as caught:
        generate(context(params(), good=good))
    message = str(caught.value)
    assert "BAD's vocabulary has 200 entries, GOOD's 260" in message
    assert "BAD's vocabulary has 200 entries, the tokenizer 260" in message
    assert "BAD's context of 19 tokens is shorter than prompts.tokens=8 + new_tokens=12" in message
    assert "GOOD's context" not in message


def test_logits_that_are_not_finite_name_model_shard_sequence_and_step(
    context: Contexts, params: Params, inputs: dict[str, Path], tmp_path: Path
) -> None:
    whole = context(params(), "whole")
    generate(whole)
    words = sequences(whole.out)
    # words that are fed back for the first time behind the prompts: at such a step BAD's embedding of it is met
    step, row = 6, 5
    word = words[row, 8 + step]
    assert word not in words[:, :8]
    assert word not in words[:4, :19]
    assert word not in words[4:8, 8 : 8 + step]
    assert word not in words[4:row, 8 + step]
    broken = tmp_path / "good-nan"
    shutil.copytree(inputs["good"], broken)
    path = broken / "checkpoints/step-00000005/model.safetensors"
    weights = load_file(path)
    weights["model.embed_tokens.weight"][word] = torch.nan
    save_file(weights, path)
    with pytest.raises(RunError, match=f"BAD's logits are not finite in shard 1, sequence {row}, step {step + 1}"):
        generate(context(params(), good=broken))
