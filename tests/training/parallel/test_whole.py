"""Whole tensors out of shards and back into any number of them, the same bits."""

import torch

from bradley.config import Parallel
from bradley.training.optim import make_optimizer
from bradley.training.parallel.group import Group
from bradley.training.parallel.shards import Shards
from bradley.training.parallel.whole import gather_optimizer, gather_tensors, spread_optimizer, spread_tensors, whole
from tests.helpers import LLAMA, tiny_model
from tests.training.jobs import TOKENIZER, config
from tests.training.parallel.processes import values

OPTIM = config().optim


def trained(group: Group, mode: str, seed: int = 0):
    """A model in a mode, and its optimizer after one step along a fixed gradient."""
    model = tiny_model(LLAMA, TOKENIZER, seed)
    if mode != "replicate" and group.size > 1:
        Shards(group, model, Parallel(mode=mode), torch.device("cpu"))
    optimizer = make_optimizer(model, OPTIM)
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight) + 0.25
    optimizer.step()
    return model, optimizer


def test_shards_are_gathered_on_the_main_process_alone_and_equal_the_whole() -> None:
    model, optimizer = trained(Group(), "replicate")
    state = gather_optimizer(model, optimizer, Group())

    def work(group: Group):
        model, optimizer = trained(group, "shard_all")
        return gather_tensors(dict(model.named_parameters()), group), gather_optimizer(model, optimizer, group)

    (tensors, found), (others, outline) = values(2, work)
    assert others == {} and all(not values for values in outline["state"].values())
    assert found["groups"] == state["groups"] == outline["groups"]
    for name, weight in model.named_parameters():
        assert torch.equal(tensors[name], weight)
        assert found["state"][name].keys() == state["state"][name].keys()
        for key, value in state["state"][name].items():
            assert torch.equal(found["state"][name][key], value)


def test_a_state_goes_into_any_mode_and_number_of_processes_and_comes_out_the_same() -> None:
    model, optimizer = trained(Group(), "replicate")
    weights = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    state = gather_optimizer(model, optimizer, Group())

    def work(group: Group, mode: str) -> bool:
        model, optimizer = trained(group, mode, seed=1)
        main = group.is_main
        spread_tensors(dict(model.named_parameters()), weights if main else {}, group)
        spread_optimizer(model, optimizer, state if main else {}, group)
        equal = all(torch.equal(whole(weight), weights[name]) for name, weight in model.named_parameters())
        for name, weight in model.named_parameters():
            for key, value in optimizer.state[weight].items():
                equal = equal and torch.equal(whole(value), state["state"][name][key])
        for weight in model.parameters():
            weight.grad = torch.zeros_like(weight) + 0.25
        optimizer.step()
        return equal

    for size, mode in [(1, "replicate"), (2, "replicate"), (2, "shard_all"), (3, "shard_optimizer_and_gradients")]:
        if size == 1:
            assert work(Group(), mode)
        else:
            assert values(size, lambda group, mode=mode: work(group, mode)) == [True] * size
