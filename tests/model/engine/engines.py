"""Models, random batches and comparisons of two engines, for tests of the engines."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from bradley.losses import Targets
from bradley.model.engine.batch import Batch
from tests.helpers import GPT2, GPT_NEOX, LLAMA, QWEN, comparisons, store_for, tiny_model, tokenizer_for

ROWS = [*comparisons(5), *comparisons(3, responses=4, seed=3)]
TOKENIZER = tokenizer_for(ROWS)
STORE = store_for(ROWS, TOKENIZER)
WEIGHTS = STORE.judgment_weights("prompt")
MODELS = {
    "llama": LLAMA,
    "qwen2": QWEN,
    "mistral": {**LLAMA, "model_type": "mistral", "sliding_window": None},
    "gpt2": GPT2,
    "gpt2 of other scale": {**GPT2, "scale_attn_by_inverse_layer_idx": True},
    "gpt_neox": GPT_NEOX,
    "gemma": {**LLAMA, "model_type": "gemma", "head_dim": 8},
}
BY_DAY = ("gpt2", "llama")
"""Learned and rotary positions; each other family is compared at night, and by day with transformers alone."""
FAMILIES = [name if name in BY_DAY else pytest.param(name, marks=pytest.mark.nightly) for name in sorted(MODELS)]
BUILT = {name: tiny_model(shape, TOKENIZER) for name, shape in MODELS.items()}


def packed(groups, seed=0, vocab=300):
    """A batch of random tokens; each group is the size of a prefix and of its responses."""
    sizes = [size for prefix, owns in groups for size in (prefix, *owns)]
    starts = [prefix if k else 0 for prefix, owns in groups for k in range(len(owns) + 1)]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    first = np.cumsum([0] + [len(owns) + 1 for _, owns in groups])
    own = np.concatenate([np.arange(len(owns)) + first[g] + 1 for g, (_, owns) in enumerate(groups)])
    prefix = np.concatenate([np.full(len(owns), first[g]) for g, (_, owns) in enumerate(groups)])
    none = torch.zeros(0)
    return Batch(
        tokens=torch.from_numpy(np.random.default_rng(seed).integers(0, vocab, offsets[-1])),
        positions=torch.cat([torch.arange(at, at + n) for at, n in zip(starts, sizes, strict=True)]),
        segments=torch.from_numpy(offsets),
        prefix=torch.from_numpy(prefix),
        own=torch.from_numpy(own),
        last=torch.from_numpy(offsets[own + 1] - 1),
        targets=Targets(none, none, none, none, none, none, none),
    )


def run(model, engine, batch):
    """Scores, and the gradient of the sum of their squares."""
    model.use(engine)
    model.zero_grad()
    scores = model(batch)
    scores.square().sum().backward()
    return scores.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def reordered(batch):
    """The same row with its responses in another order, as where a comparison has several prefixes."""
    order = torch.from_numpy(np.random.default_rng(len(batch.own)).permutation(len(batch.own)))
    return replace(batch, **{name: getattr(batch, name)[order] for name in ("prefix", "own", "last")})


def assert_equal_engines(model, batch, scores=1e-5, gradient=1e-4, engine="segments"):
    batch = reordered(batch)
    assert_equal_runs(run(model, "plain", batch), run(model, engine, batch), scores, gradient)


def assert_equal_runs(plain, shared, scores=1e-5, gradient=1e-4):
    assert float((plain[0] - shared[0]).abs().max()) <= scores * float(plain[0].abs().max())
    assert plain[1].keys() == shared[1].keys()
    whole = float(torch.stack([g.norm() for g in plain[1].values()]).norm())
    for name, expected in plain[1].items():
        apart = float((expected - shared[1][name]).norm())
        assert apart <= gradient * float(expected.norm()) + 1e-6 * whole, name


GROUPS = st.lists(
    st.tuples(st.integers(0, 40), st.lists(st.integers(1, 30), min_size=1, max_size=8)), min_size=1, max_size=4
)
YARDSTICK = [(7, [3, 5, 2, 6, 4, 8]), (0, [9, 4])]
"""Comparisons beside those that are drawn: differences are held against the largest score of a batch, and a lone score
may be near 0, where the rounding of what cancelled out is all that is left of it."""


def use(model, engine):
    model.use(engine)
    return model


WIDE = {"hidden_size": 64, "intermediate_size": 96}
"""Heads of 16 and more, the smallest that there are kernels for."""
SHAPES = {
    "llama": {**MODELS["llama"], **WIDE},
    "gpt2": {**MODELS["gpt2"], "n_embd": 64},
    "gpt2 of other scale": {**MODELS["gpt2"], "n_embd": 64, "scale_attn_by_inverse_layer_idx": True},
    "gpt_neox": {**MODELS["gpt_neox"], **WIDE},
    "gemma": {**MODELS["gemma"], **WIDE, "head_dim": 32},
}


def attention(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale=None, window_size=(-1, -1), enable_gqa=False
):
    """What `varlen_attn` computes: attention of each sequence alone, its last query seeing its last key."""
    assert window_size == (-1, 0) and cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert query.is_contiguous() and len(query) == int(cu_seq_q[-1]) and len(key) == int(cu_seq_k[-1])
    asked, answering = (sizes.diff().tolist() for sizes in (cu_seq_q, cu_seq_k))
    assert (max(asked), max(answering)) == (max_q, max_k)
    outputs = []
    for q, k, v in zip(query.split(asked), key.split(answering), value.split(answering), strict=True):
        mask = torch.ones(len(q), len(k), dtype=torch.bool).tril(len(k) - len(q))
        heads = (tensor.transpose(0, 1) for tensor in (q, k, v))
        outputs.append(scaled_dot_product_attention(*heads, mask, scale=scale, enable_gqa=enable_gqa).transpose(0, 1))
    return torch.cat(outputs)
