"""Pairs merged by prompt train on the same loss, from fewer tokens."""

import gzip

import numpy as np
import pytest
import torch

from bradley.config import Data, Render
from bradley.data.load import load_splits
from bradley.data.micro_batches import cut_all
from bradley.data.render import Renderer
from bradley.data.token_store import build_store
from bradley.losses import bradley_terry
from bradley.model.cost import limit_for, load_on
from bradley.model.engine.batch import collate
from tests.helpers import LLAMA, needs_data, tiny_model, tokenizer_for

ROWS = 24


@pytest.mark.parametrize("name", ["oasst1_zh", pytest.param("qa_feedback_dev", marks=pytest.mark.nightly)])
def test_the_loss_is_that_of_the_pairs_at_equal_weights(name, tmp_path):
    file = tmp_path / "pairs.jsonl"
    with gzip.open(needs_data(name, "pairs.jsonl.gz"), "rt", encoding="utf-8") as rows:
        file.write_text("".join(row for row, _ in zip(rows, range(ROWS), strict=False)), encoding="utf-8")
    sets = {
        how: load_splits(Data(train=str(file), valid_share=0.0, group_by=how), 0).train for how in ("none", "prompt")
    }
    tokenizer = tokenizer_for(sets["none"])
    model = tiny_model({**LLAMA, "max_position_embeddings": 8192}, tokenizer)
    renderer = Renderer(tokenizer, Render(max_tokens=8192), causal=True)
    found = {}
    for how, comparisons in sets.items():
        store = build_store(comparisons, renderer, training=True)
        weights, total = store.judgment_weights("pair"), 0.0
        model.zero_grad()
        for chosen in cut_all(load_on(model, store), limit_for(model, 0), np.arange(len(store))):
            batch = collate(store, chosen, weights)
            term = bradley_terry(model(batch), batch.targets).sum / float(weights.sum())
            term.backward()
            total += float(term.detach())
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        found[how] = (total, gradient, len(store.tokens), len(store.better), len(store))
    (loss, gradient, tokens, judgments, count), merged = found["none"], found["prompt"]
    assert merged[0] == pytest.approx(loss, rel=1e-5)
    assert float((merged[1] - gradient).norm()) < 1e-4 * float(gradient.norm())
    assert merged[3] == judgments and merged[4] < count and merged[2] < tokens
