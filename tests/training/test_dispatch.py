"""What a training step asks of its device, counted below autograd: reads of the host, kernels, and arithmetic.

No GPU is needed: `far_device` counts on a CPU what a GPU would be asked for. The kernels of `varlen` and `flex`, which
run on CUDA alone, are played by one attention with a mask, and count as one kernel forward and one backward.
"""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

from bradley.losses import bradley_terry
from bradley.model.cost import matrix_weights
from bradley.model.engine import flex
from bradley.model.engine.batch import collate
from bradley.training.distributed.process_group import ProcessGroup
from bradley.training.distributed.strategy import Strategy
from bradley.training.loop import fit
from bradley.training.progress import Progress
from tests.helpers import tiny_model
from tests.model.engine.engines import SHAPES, STORE, TOKENIZER, WEIGHTS
from tests.training.far_device import DEVICE, FarDevice, move
from tests.training.jobs import config, job

pytestmark = pytest.mark.transformers

LLAMA = SHAPES["llama"]
ENGINES = ("plain", "segments", "varlen", "flex")
STEP_READS = 2
"""Reads of a step: the figures of all micro-batches, and the norm of the gradient."""
MASK_READS = {"plain": 2}
"""Reads of transformers itself for each micro-batch of padded rows: is there any padding, and where?"""
KERNELS = {"plain": 460, "segments": 600, "varlen": 405, "flex": 460}
"""Most kernels of a micro-batch of the two layers: copies to the device, forward, loss, backward and figures."""
FIXED = ("plain", "varlen", "flex")
"""Engines with as many kernels for many comparisons as for few."""


class OneKernel(torch.autograd.Function):
    """An attention that counts as one kernel forward and one backward, whatever it is made of."""

    @staticmethod
    def forward(ctx, counter, compute, *tensors):
        with counter("attention"), torch.enable_grad():
            ctx.inputs = [tensor.detach().requires_grad_() for tensor in tensors]
            ctx.output = compute(*ctx.inputs)
        ctx.counter = counter
        return ctx.output.detach()

    @staticmethod
    def backward(ctx, gradient):
        with ctx.counter("attention backward"):
            return None, None, *torch.autograd.grad(ctx.output, ctx.inputs, gradient)


def varlen_kernel(counter):
    """What `varlen_attn` computes, without a loop over the sequences."""

    def kernel(query, key, value, cu_q, cu_k, max_q, max_k, *, scale=None, window_size=(-1, -1), enable_gqa=False):
        def compute(query, key, value):
            asked, answering = (_places(ends, len(t)) for ends, t in ((cu_q, query), (cu_k, key)))
            last = (cu_k.diff() - cu_q.diff())[asked[0]]
            mask = (asked[0][:, None] == answering[0]) & (answering[1] <= (asked[1] + last)[:, None])
            heads = (tensor.transpose(0, 1) for tensor in (query, key, value))
            return scaled_dot_product_attention(*heads, mask, scale=scale, enable_gqa=enable_gqa).transpose(0, 1)

        return OneKernel.apply(counter, compute, query, key, value)

    return kernel


def _places(ends, count):
    """Sequence and place in the sequence of each token."""
    token = torch.arange(count, device=ends.device)
    sequence = torch.searchsorted(ends[1:].long(), token, right=True)
    return sequence, token - ends[sequence]


def flex_kernel(counter):
    """What compiled FlexAttention computes, with the mask written out."""

    def kernel(query, key, value, *, block_mask, scale, enable_gqa):
        def compute(query, key, value):
            token = torch.arange(query.shape[2], device=query.device)
            mask = block_mask.mask_mod(None, None, token[:, None], token)
            return scaled_dot_product_attention(query, key, value, mask, scale=scale, enable_gqa=enable_gqa)

        return OneKernel.apply(counter, compute, query, key, value)

    return kernel


@pytest.fixture
def kernels(monkeypatch):
    """Function that puts stand-ins in the place of the kernels of CUDA, counted by its argument."""

    def put(counter):
        monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", varlen_kernel(counter))
        monkeypatch.setattr(flex, "_compiled", lambda: flex_kernel(counter))

    monkeypatch.setattr(torch, "autocast", lambda *_, **given: contextlib.nullcontext())
    return put


class Enough(Exception):
    """The steps that were wanted are done."""


class Watched(Strategy):
    """One process that notes what each step, and each micro-batch, asked of the device.

    Attributes:
        steps: reads of each finished step.
        inside: reads, kernels and comparisons of each micro-batch.
    """

    def __init__(self, model, far, steps):
        super().__init__(ProcessGroup(), model)
        self.far, self.wanted, self.steps, self.inside, self.before = far, steps, [], [], None

    def share(self, plan, step):
        if self.before is not None:
            self.steps.append(len(self.far.reads) - self.before)
        if len(self.steps) == self.wanted:
            raise Enough
        self.before = len(self.far.reads)
        for number, chosen in super().share(plan, step):
            reads, started = len(self.far.reads), self.far.kernels.total()
            yield number, chosen
            self.inside.append((self.far.reads[reads:], self.far.kernels.total() - started, len(chosen)))


def two_steps(folder, engine, kernels, tokens=150):
    """Two steps of the whole loop, between the evaluation before and the check of gradients after."""
    settings = config(train={"max_steps": 100, "micro_batch_tokens": tokens}, eval={"every": 100})
    made = job(folder, settings, LLAMA)
    made.model.use(engine)
    with FarDevice() as far:
        kernels(far.one_kernel)
        move(made.model)
        strategy = Watched(made.model, far, 2)
        groups = [{"params": list(made.model.parameters()), "name": "backbone"}]
        # Fused kernels of an optimizer are for devices that PyTorch knows.
        made = replace(made, optimizer=torch.optim.AdamW(groups, fused=False), strategy=strategy)
        with pytest.raises(Enough):
            fit(made, Progress(evaluated=True))
    return strategy


@pytest.mark.parametrize(
    "read",
    [float, bool, int, torch.Tensor.item, lambda x: x.tolist(), torch.Tensor.nonzero, torch.Tensor.cpu,
     lambda x: torch.ones(2).to(DEVICE), lambda x: x[x > 0], lambda x: x.to("cpu"), lambda x: x.masked_select(x > 0),
     lambda x: x.unique()],
)  # fmt: skip
def test_the_counter_sees_every_kind_of_read(read):
    with FarDevice() as far:
        number = torch.ones((), device=DEVICE)
        number.add(1.0).exp_()
        assert (far.reads, far.kernels.total()) == ([], 3)
        read(number)
        assert len(far.reads) == 1


@pytest.mark.parametrize(
    "engine", [name if name == "segments" else pytest.param(name, marks=pytest.mark.nightly) for name in ENGINES]
)
def test_the_host_waits_for_the_device_at_the_end_of_a_step_alone(tmp_path, kernels, engine):
    made = two_steps(tmp_path, engine, kernels)
    assert len(made.inside) >= 4
    of_masks = MASK_READS.get(engine, 0)
    assert all(len(reads) <= of_masks for reads, *_ in made.inside), made.inside
    assert all(count <= STEP_READS + of_masks * len(made.inside) for count in made.steps)
    assert max(count for _, count, _ in made.inside) <= KERNELS[engine]


@pytest.mark.parametrize(
    "engine", [name if name == "varlen" else pytest.param(name, marks=pytest.mark.nightly) for name in FIXED]
)
def test_more_comparisons_start_no_more_kernels(tmp_path, kernels, engine):
    few, many = (two_steps(tmp_path / str(tokens), engine, kernels, tokens) for tokens in (150, 4000))
    assert np.mean([size for *_, size in many.inside]) > 2 * np.mean([size for *_, size in few.inside])
    assert max(count for _, count, _ in many.inside) <= max(count for _, count, _ in few.inside)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_arithmetic_is_six_operations_for_each_weight_and_token(kernels, engine):
    kernels(lambda name: contextlib.nullcontext())
    model = tiny_model(LLAMA, TOKENIZER)
    model.use(engine)
    batch = collate(STORE, np.arange(len(STORE)), WEIGHTS)
    with FlopCounterMode(display=False) as counter:
        bradley_terry(model(batch), batch.targets).sum.backward()
    products = counter.get_flop_counts()["Global"]
    found = sum(count for name, count in products.items() if str(name) in ("aten.mm", "aten.addmm"))
    tokens, responses = len(batch.tokens), len(batch.own)
    rows = {"plain": responses * int(batch.positions.max() + 1), "flex": flex.padded(tokens)}
    head = 6 * responses * LLAMA["hidden_size"]
    expected = 6 * matrix_weights(model.network) * rows.get(engine, tokens) + head
    # The blocks of a mask of `flex` are counted by small products.
    assert expected <= found <= 1.001 * expected
    assert rows["plain"] > 1.5 * tokens
