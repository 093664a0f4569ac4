"""Laws of trees of texts: what is common is computed once, and it changes no score."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.instance import Instance

from ablab.corpora.requests import Query
from ablab.evaluate import lm
from ablab.evaluate.lm import ScoredLM
from ablab.evaluate.neural import NeuralScorer
from ablab.evaluate.tree import LEAST_NODES, NODES_PER_LENGTH, NODES_PER_ROW, plan
from ablab.models.llama import load_checkpoint

texts = st.lists(st.integers(4, 6), min_size=1, max_size=20)
some_queries = st.lists(
    texts.flatmap(lambda ids: st.builds(Query, st.just((1, *ids)), st.integers(1, len(ids)))), max_size=40, unique=True
)


def crowd(count: int, seed: int = 0, length: int = 40) -> list[Query]:
    """Texts that often begin alike, also up to the whole of another one."""
    draw = random.Random(seed)
    made: list[tuple[int, ...]] = [(1, 5)]
    for _ in range(count):
        start = draw.choice(made)
        start = start[: draw.randint(1, min(len(start), length - 1))]
        made.append(start + tuple(draw.randint(4, 299) for _ in range(draw.randint(1, length - len(start) + 1))))
    return [Query(tokens, draw.randint(1, len(tokens) - 1)) for tokens in dict.fromkeys(made)]


def scorer(world: Any, rows: int = 16, dtype: torch.dtype = torch.float32) -> NeuralScorer:
    return NeuralScorer(load_checkpoint(world.root / "train-a" / "checkpoints" / "step-00000004", dtype=dtype), rows)


def alone(model: torch.nn.Module, query: Query) -> float:
    log_probs = model(torch.tensor([query.tokens])).logits[0].double().log_softmax(-1)
    return sum(float(log_probs[i - 1, query.tokens[i]]) for i in range(query.first, len(query.tokens)))


@settings(max_examples=60, deadline=None)
@given(some_queries, st.integers(1, 3))
def test_every_scored_token_stands_behind_exactly_its_own_text(queries: list[Query], rows: int) -> None:
    seen: set[int] = set()
    for batch in plan(tuple(queries), rows):
        size = batch.tokens_BS.shape[1]
        ends = np.cumsum(batch.counts)
        for number, count, end in zip(batch.queries, batch.counts, ends, strict=True):
            query = queries[number]
            assert tuple(batch.targets_N[end - count : end]) == query.tokens[query.first :]
            for place, node in zip(range(query.first, len(query.tokens)), batch.rows_N[end - count : end], strict=True):
                row, at = divmod(int(batch.behind_M[node]), size)
                ancestors = [j for j in range(size) if j <= at < batch.ends_BS[row, j]]
                assert tuple(batch.tokens_BS[row, ancestors]) == query.tokens[:place]
                assert batch.depths_BS[row, ancestors].tolist() == list(range(place))
            seen.add(number)
    assert seen == set(range(len(queries)))


@pytest.mark.parametrize("rows", [1, 16])
def test_scores_agree_with_one_text_at_a_time(world: Any, rows: int) -> None:
    queries = crowd(60)
    model = load_checkpoint(world.root / "train-a" / "checkpoints" / "step-00000004")
    assert scorer(world, rows).completions(queries) == pytest.approx([alone(model, q) for q in queries], abs=1e-4)


def test_the_order_of_the_queries_changes_no_bit(world: Any) -> None:
    queries = crowd(150)
    mixed = random.Random(1).sample(range(len(queries)), len(queries))
    found = scorer(world).completions(queries)
    assert scorer(world).completions([queries[i] for i in mixed]) == [found[i] for i in mixed]


def test_what_options_share_is_computed_once(world: Any) -> None:
    context = (1, *range(10, 40))
    options = [(5, 6, 7), (5, 6, 8), (5, 9), (11, 12), (13,)]
    model = scorer(world)
    model.completions([Query(context + option, len(context)) for option in options])
    assert model.tokens == len(context) + 3  # 5, 6 and 11; the last token of a text is predicted alone


def test_trees_and_batches_are_bounded_whatever_the_texts() -> None:
    for batch in plan(tuple(crowd(600, seed=3, length=100)), 4):
        nodes = batch.ends_BS.max(axis=1)
        longest = batch.depths_BS.max(axis=1) + 1
        assert (nodes <= np.maximum(LEAST_NODES, NODES_PER_LENGTH * longest)).all()
        assert len(nodes) == 1 or (len(nodes) <= 4 and batch.tokens_BS.size <= 4 * NODES_PER_ROW)


def test_no_query_needs_no_batch(world: Any) -> None:
    assert scorer(world).completions([]) == []


def test_bf16_changes_scores_by_little_and_leaves_the_precision_of_products_alone(world: Any) -> None:
    queries = crowd(60)
    before = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    half = scorer(world, dtype=torch.bfloat16).completions(queries)
    assert torch.backends.mkldnn.matmul.fp32_precision == before  # type: ignore[attr-defined]
    whole = scorer(world).completions(queries)
    assert half != whole
    assert float(np.mean(np.abs(np.subtract(half, whole) / np.array(whole)))) < 0.02


def test_the_next_checkpoint_has_its_requests_ready_and_other_texts_do_not(world: Any) -> None:
    def ask(*options: str) -> lm.Asked:
        requests = [Instance("loglikelihood", {"id": f"s/t/{i}"}, ("The", one), 0) for i, one in enumerate(options)]
        ScoredLM(scorer(world), world.tokenizer).loglikelihood(requests)
        return lm._last_asked[False][1]

    first = ask(" key", " box")
    hits = plan.cache_info().hits
    assert ask(" key", " box") is first
    assert plan.cache_info().hits == hits + 1
    assert ask(" key", " ball") is not first
