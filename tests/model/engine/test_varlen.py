"""The engine `varlen` without its kernel: sequences of one call, played by plain attention for each of them."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from bradley.errors import UserError
from bradley.model.choose_engine import prove
from bradley.model.engine import varlen
from bradley.model.engine.batch import collate
from bradley.model.engine.contract import Refused
from tests.helpers import tiny_model
from tests.model.engine.engines import (
    BUILT,
    FAMILIES,
    GROUPS,
    MODELS,
    STORE,
    TOKENIZER,
    YARDSTICK,
    assert_equal_engines,
    assert_equal_runs,
    attention,
    packed,
    run,
    use,
)

pytestmark = pytest.mark.transformers


@pytest.fixture(autouse=True)
def kernel(monkeypatch):
    """Plain attention in the place of the CUDA kernel."""
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", attention)


@pytest.mark.parametrize("name", FAMILIES)
def test_scores_and_gradients_equal_the_plain_path(name):
    @given(groups=GROUPS)
    @settings(max_examples=10, deadline=None)
    def check(groups):
        assert_equal_engines(BUILT[name], packed([*groups, *YARDSTICK]), engine="varlen")

    check()


@pytest.mark.parametrize("trainable", ["all", "head", "head_and_norms"])
def test_with_recomputed_activations_and_frozen_weights(trainable):
    model = tiny_model(MODELS["llama"], TOKENIZER, trainable=trainable, gradient_checkpointing=True)
    assert_equal_engines(model, packed([(11, [3, 1, 9]), (0, [5, 6]), (40, [30, 30])]), engine="varlen")


def test_in_bfloat16_attention_is_computed_in_it_and_differs_by_rounding(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "torch.nn.attention.varlen.varlen_attn",
        functools.wraps(attention)(lambda *given, **more: seen.append(given[:3]) or attention(*given, **more)),
    )
    model = tiny_model(MODELS["llama"], TOKENIZER, precision="bfloat16")
    batch = packed([(11, [3, 1, 9]), (40, [30, 30])])
    assert_equal_engines(model, batch, scores=2e-2, gradient=5e-2, engine="varlen")
    assert {tensor.dtype for tensors in seen for tensor in tensors} == {torch.bfloat16}
    assert prove(use(model, "varlen"), STORE).difference < 0.05 and model.engine == "varlen"


def test_the_sequences_of_a_row_by_hand():
    """Tokens 0-1 are a prefix of 2-4 and 5; 6-7 a response without one, 8 another."""
    row = varlen.sequences_of(packed([(2, [3, 1]), (0, [2, 1])]), torch.bfloat16)
    assert row.queries.tolist() == [0, 5, 6, 8, 9]
    assert row.keys.tolist() == [0, 5, 8, 10, 11]
    assert row.source.tolist() == [0, 1, 2, 3, 4, 0, 1, 5, 6, 7, 8]
    assert (row.most_queries, row.longest) == (5, 5)


def test_gradients_of_a_prefix_are_added_up_in_float32():
    """300 times 1 + 1/128, whose sum in bfloat16 stops growing at 256."""
    source = torch.zeros(2, 1, 1, dtype=torch.bfloat16, requires_grad=True)
    index = torch.tensor([0] * 300 + [1])
    varlen._taken(source, index).backward(torch.full((301, 1, 1), 1.0078125, dtype=torch.bfloat16))
    assert source.grad.dtype == torch.bfloat16
    assert float(source.grad[0]) == pytest.approx(302.34, abs=1) and float(source.grad[1]) == 1.0078125


def test_an_older_kernel_is_told_what_it_knows(monkeypatch):
    def older(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=False):
        assert is_causal
        groups = query.shape[1] != key.shape[1]
        rest = {"window_size": (-1, 0), "enable_gqa": groups}
        return attention(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, **rest)

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", older)
    batch = packed([(7, [3, 5]), (0, [9, 4])])
    for name in ("llama", "gpt2"):
        assert_equal_engines(BUILT[name], batch, engine="varlen")
    with pytest.raises(Refused, match="scales its attention scores"):
        run(BUILT["gpt2 of other scale"], "varlen", batch)


def test_heads_and_dropout_that_the_kernel_cannot_are_refused():
    row = varlen.sequences_of(packed([(2, [1, 1])]), torch.float32)
    module = torch.nn.Module()
    for size in (4, 12, 264):
        with pytest.raises(Refused, match=f"heads of size {size}, and varlen takes multiples of 8 up to 256"):
            varlen.attend(module, *[torch.zeros(1, 2, 4, size)] * 3, None, segments=row)
    tensors = [torch.zeros(1, 2, 4, 8)] * 3
    with pytest.raises(Refused, match="drops attention weights"):
        varlen.attend(module, *tensors, None, segments=row, dropout=0.1)
    with pytest.raises(Refused, match=r"model\.engine = varlen: the model has attention sinks"):
        varlen.attend(module, *tensors, None, segments=row, s_aux=1.0)


def test_a_window_shorter_than_a_response_is_refused_when_it_comes():
    model = tiny_model({**MODELS["llama"], "model_type": "mistral", "sliding_window": 64}, TOKENIZER)
    assert_equal_engines(model, packed([(40, [24, 3])]), engine="varlen")
    with pytest.raises(UserError, match="window of 64 tokens, shorter than a response of 65"):
        use(model, "varlen")(packed([(40, [25, 3])]))


@torch.library.custom_op("bradley_tests::varlen", mutates_args=())
def opaque(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    scale: float,
    enable_gqa: bool,
) -> torch.Tensor:
    """The same as an operator that a compiler cannot look into, as that of PyTorch is one."""
    rest = {"scale": scale, "window_size": (-1, 0), "enable_gqa": enable_gqa}
    return attention(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, **rest)


@opaque.register_fake
def _(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, scale, enable_gqa):
    return torch.empty_like(query)


def remember(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:5])
    ctx.rest = inputs[5:]


def backward(ctx, gradient):
    *inputs, cu_seq_q, cu_seq_k = ctx.saved_tensors
    max_q, max_k, scale, groups = ctx.rest
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    with torch.enable_grad():
        rest = {"scale": scale, "window_size": (-1, 0), "enable_gqa": groups}
        output = attention(*inputs, cu_seq_q, cu_seq_k, max_q, max_k, **rest)
    return *torch.autograd.grad(output, inputs, gradient), *(None,) * 6


opaque.register_autograd(backward, setup_context=remember)


def test_a_compiled_backbone_is_compiled_once_for_all_batches(traced, monkeypatch):
    def kernel(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale, window_size, enable_gqa):
        return opaque(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, scale, enable_gqa)

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)
    plain, compiled = (tiny_model(MODELS["llama"], TOKENIZER, compile=on) for on in (False, True))
    shapes = [[(11, [3, 1, 9]), (40, [30, 30])], [(7, [3, 5])], [(0, [9, 4, 2]), (2, [2, 2])], [(64, [5] * 8)]]
    for number, groups in enumerate(shapes):
        batch = packed(groups)
        assert_equal_runs(run(plain, "plain", batch), run(compiled, "varlen", batch))
        if number == 0:
            warm = traced["stats"]["unique_graphs"]
    assert warm >= 1 and traced["stats"]["unique_graphs"] == warm
    assert not traced["graph_break"]


def test_nothing_to_do_takes_part_with_gradients_of_zero():
    batch = collate(STORE, np.zeros(0, dtype=np.int64), STORE.judgment_weights("pair"))
    scores, gradients = run(BUILT["llama"], "varlen", batch)
    assert scores.shape == (0,) and gradients.keys() == {name for name, _ in BUILT["llama"].named_parameters()}
    assert all(not gradient.any() for gradient in gradients.values())
