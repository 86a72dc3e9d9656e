"""The engines on their real kernels: scores and gradients of the plain path, few recompilations."""

import numpy as np
import pytest
import torch

from bradley.config import Model
from bradley.model.build import build_model
from bradley.model.choose_engine import prove
from tests.model.engine.engines import SHAPES, STORE, TOKENIZER, WIDE, assert_equal_runs, attention, packed, run, use

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device"),
    pytest.mark.transformers,
]
CUDA = torch.device("cuda")
SIZES = [
    [(11, [3, 1, 9]), (0, [5, 6]), (40, [30, 30])],
    [(300, [200, 17, 128]), (128, [128, 1])],
    [(0, [700, 3]), (513, [64] * 8)],
]


def on_cuda(shape, **settings):
    model = Model(config=shape, tokenizer="train", **settings)
    return build_model(model, TOKENIZER, 0, CUDA).model


def random_groups(seed):
    rng = np.random.default_rng(seed)
    return [
        (int(rng.integers(0, 500)), rng.integers(1, 300, rng.integers(1, 6)).tolist())
        for _ in range(int(rng.integers(1, 5)))
    ]


@pytest.mark.parametrize("engine", ["varlen", "flex"])
@pytest.mark.parametrize("name", sorted(SHAPES))
def test_in_bfloat16_they_are_as_near_to_plain_as_rounding_allows(engine, name):
    model = on_cuda(SHAPES[name], engine=engine)
    for groups in SIZES:
        batch = packed(groups).to(CUDA)
        assert_equal_runs(run(model, "plain", batch), run(model, engine, batch), scores=3e-2, gradient=8e-2)
    assert prove(use(model, engine), STORE).difference < 0.05


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_in_float32_flex_is_as_near_as_on_a_cpu(name):
    model = on_cuda(SHAPES[name], engine="flex", precision="float32")
    for groups in SIZES:
        batch = packed(groups).to(CUDA)
        assert_equal_runs(run(model, "plain", batch), run(model, "flex", batch), scores=2e-5, gradient=5e-4)


def test_auto_is_varlen_in_bfloat16_and_flex_in_float32():
    assert on_cuda(SHAPES["llama"]).engine == "varlen"
    assert on_cuda(SHAPES["llama"], precision="float32").engine == "flex"


@pytest.mark.parametrize("engine", ["varlen", "flex"])
@pytest.mark.parametrize(
    "settings", [{"gradient_checkpointing": True}, {"compile": True}], ids=["recomputed", "compiled"]
)
def test_recomputed_and_compiled(engine, settings):
    torch._dynamo.reset()
    plain, model = on_cuda(SHAPES["llama"]), on_cuda(SHAPES["llama"], engine=engine, **settings)
    for groups in SIZES:
        batch = packed(groups).to(CUDA)
        assert_equal_runs(run(plain, "plain", batch), run(model, engine, batch), scores=3e-2, gradient=8e-2)


@pytest.mark.parametrize("compiled", [False, True], ids=["as it is", "compiled"])
@pytest.mark.parametrize("engine", ["varlen", "flex"])
def test_random_batches_need_few_kernels(engine, compiled):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model = on_cuda(SHAPES["llama"], engine=engine, compile=compiled)
    for seed in range(12):
        run(model, engine, packed(random_groups(seed)).to(CUDA))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 4


def test_the_kernel_sees_what_its_stand_in_sees():
    """Shorter queries than keys: the last query must see the last key."""
    from torch.nn.attention.varlen import varlen_attn

    from bradley.model.engine.varlen import _keywords, _options, _taken, sequences_of

    row = sequences_of(packed(SIZES[1]), torch.bfloat16)
    source = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, heads, int(row.queries[-1]), 32, generator=source) for heads in (4, 2, 2))
    given = [tensor[0].transpose(0, 1).to(torch.bfloat16) for tensor in (query, key, value)]
    given = [given[0].contiguous(), *(_taken(tensor, row.source) for tensor in given[1:])]
    rest = (row.queries, row.keys)
    options = _options(query, key, None, 0.0, _keywords(varlen_attn))
    on_gpu = (tensor.to(CUDA) for tensor in (*given, *rest))
    output = varlen_attn(*on_gpu, row.most_queries, row.longest, **options).cpu()
    told = {"window_size": (-1, 0), "enable_gqa": True}
    expected = attention(*(tensor.float() for tensor in given), *rest, row.most_queries, row.longest, **told)
    torch.testing.assert_close(output.float(), expected, rtol=2e-2, atol=1e-2)


def test_liger_is_as_near_as_rounding_allows():
    pytest.importorskip("liger_kernel", reason="the extra `liger` is not installed")
    shape = {**SHAPES["llama"], **WIDE}
    plain, fused = on_cuda(shape, engine="plain"), on_cuda(shape, engine="plain", liger=True)
    batch = packed(SIZES[0]).to(CUDA)
    assert_equal_runs(run(plain, "plain", batch), run(fused, "plain", batch), scores=3e-2, gradient=8e-2)
