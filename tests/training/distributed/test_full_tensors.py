"""Whole tensors out of shards and back into any number of them, the same bits."""

import torch

from bradley.config import Parallel
from bradley.training.distributed.fsdp import FSDP
from bradley.training.distributed.full_tensors import form_of, full_tensor, gather_tensors, spread_tensors
from bradley.training.distributed.process_group import ProcessGroup
from tests.helpers import LLAMA, tiny_model
from tests.training.distributed.processes import values
from tests.training.jobs import TOKENIZER


def model_in(group: ProcessGroup, mode: str, seed: int = 0):
    """A model in a mode."""
    model = tiny_model(LLAMA, TOKENIZER, seed)
    if mode != "replicate" and group.size > 1:
        FSDP(group, model, Parallel(mode=mode), torch.device("cpu"))
    return model


def test_shards_are_gathered_on_the_main_process_alone_and_equal_the_whole() -> None:
    model = tiny_model(LLAMA, TOKENIZER)

    def work(group: ProcessGroup):
        return gather_tensors(dict(model_in(group, "shard_all").named_parameters()), group)

    tensors, others = values(2, work)
    assert others == {}
    for name, weight in model.named_parameters():
        assert torch.equal(tensors[name], weight)


def test_weights_go_into_any_mode_and_number_of_processes_and_come_out_the_same() -> None:
    weights = {name: weight.detach().clone() for name, weight in tiny_model(LLAMA, TOKENIZER).named_parameters()}

    def work(group: ProcessGroup, mode: str) -> bool:
        model = model_in(group, mode, seed=1)
        spread_tensors(dict(model.named_parameters()), weights if group.is_main else {}, group)
        return all(torch.equal(full_tensor(weight), weights[name]) for name, weight in model.named_parameters())

    for size, mode in [(1, "replicate"), (2, "replicate"), (2, "shard_all"), (3, "shard_optimizer_and_gradients")]:
        if size == 1:
            assert work(ProcessGroup(), mode)
        else:
            assert values(size, lambda group, mode=mode: work(group, mode)) == [True] * size


def test_the_form_of_a_tensor_in_shards_is_that_of_the_whole() -> None:
    forms = {name: form_of(weight) for name, weight in tiny_model(LLAMA, TOKENIZER).named_parameters()}

    def work(group: ProcessGroup):
        return {name: form_of(weight) for name, weight in model_in(group, "shard_all").named_parameters()}

    assert values(2, work) == [forms] * 2
    assert form_of(torch.zeros((), dtype=torch.bfloat16)) == {"shape": [], "dtype": "bfloat16"}
