"""What optimizers keep of a weight, against what they do keep."""

import inspect

import pytest
import torch
from torch import nn

from bradley.errors import UserError
from bradley.training.optim import REFUSED
from bradley.training.optimizer_bytes import BYTES_PER_WEIGHT, state_bytes

SHAPES = [(8, 6), (5,), (2, 3, 4), (64, 65)]
OPTIONS = {
    "Adam": [{}, {"amsgrad": True}],
    "AdamW": [{}, {"amsgrad": True}],
    "RMSprop": [{}, {"momentum": 0.9}, {"centered": True, "momentum": 0.9}],
    "SGD": [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}],
}
CASES = [(name, options) for name in BYTES_PER_WEIGHT if name != "AdamW8bit" for options in OPTIONS.get(name, [{}])]


def kept(kind, shape, options):
    """Bytes of all tensors in the state of an optimizer that has taken a step, scalars aside."""
    weight = nn.Parameter(torch.ones(shape))
    weight.grad = torch.ones(shape)
    optimizer = kind([weight], lr=1e-3, **options)
    optimizer.step()
    return sum(
        value.numel() * value.element_size()
        for value in optimizer.state[weight].values()
        if torch.is_tensor(value) and value.ndim
    )


@pytest.mark.parametrize(("name", "options"), CASES)
def test_states_are_those_that_the_class_makes(name, options):
    kind = getattr(torch.optim, name)
    shapes = [shape for shape in SHAPES if name != "Muon" or len(shape) == 2]
    for shape in shapes:
        assert state_bytes(name, options, shape) == kept(kind, shape, options), shape


def test_every_optimizer_of_pytorch_has_a_rule():
    kinds = {name for name, kind in vars(torch.optim).items() if inspect.isclass(kind)}
    known = {n for n in kinds if issubclass(getattr(torch.optim, n), torch.optim.Optimizer)} - {"Optimizer"}
    assert known - set(REFUSED) == set(BYTES_PER_WEIGHT) - {"AdamW8bit"}


def test_eight_bits_take_a_quarter_and_a_scale_for_each_block():
    numbers = 4096 * 300
    assert state_bytes("AdamW8bit", {}, (4096, 300)) == 2 * (numbers + 4 * numbers // 256)
    assert state_bytes("AdamW8bit", {}, (63, 65)) == 8 * 63 * 65  # too small to be worth it
    assert state_bytes("AdamW8bit", {}, (1, 4097)) == 2 * (4097 + 4 * 17)


def test_a_class_without_a_rule_is_an_error():
    with pytest.raises(UserError, match=r"optim\.name = Lion: what it keeps"):
        state_bytes("Lion", {}, (2, 2))
