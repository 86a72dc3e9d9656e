"""Processes of another run, and weights that have drifted, are found and named."""

from typing import Any

import pytest
import torch

from bradley.config import Parallel
from bradley.training.distributed.consistency import check_folder, check_same, check_weights, code_hash
from bradley.training.distributed.fsdp import FSDP
from bradley.training.distributed.process_group import ProcessGroup, Rank, caught
from tests.helpers import LLAMA, tiny_model
from tests.training.distributed.processes import together, values
from tests.training.jobs import TOKENIZER


def test_equal_facts_pass_and_other_ones_end_all_with_exit_code_2() -> None:
    values(2, lambda group: check_same(group, {"settings": 1, "code": code_hash()}))
    results = together(3, lambda group: check_same(group, {"settings": 1, "code": "a" if group.rank < 2 else "b"}))
    assert [result.code for result in results] == [2, 2, 2]
    assert {result.error for result in results} == {"process 2 of 3 has another code than process 0"}


def test_a_folder_that_all_see_passes_and_one_that_is_another_on_one_machine_does_not(tmp_path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    values(3, lambda group: check_folder(group, tmp_path / "one"))
    results = together(3, lambda group: check_folder(group, tmp_path / ("two" if group.rank == 2 else "one")))
    assert [result.code for result in results] == [2, 2, 2]
    assert all("process 2 of 3 does not see the run folder" in result.error for result in results)
    assert not list((tmp_path / "one").iterdir())


def test_a_folder_that_the_main_process_may_not_write_in_ends_all_with_its_error(tmp_path) -> None:
    (tmp_path / "file").touch()
    results = together(2, lambda group: check_folder(group, tmp_path / "file"))
    assert [result.code for result in results] == [7, 7], results


def flip(weight: torch.Tensor, bit: int) -> None:
    flat = weight.data.view(torch.int32).view(-1)
    flat[5] ^= 1 << bit


RIGHT = "are not those of the others: network.score.weight"
OPEN = "differ, and no majority tells which of them are right: network.score.weight"


@pytest.mark.parametrize(
    ("size", "bits", "said"),
    [
        (2, {1: 0}, f"processes 0 and 1 of 2 {OPEN}"),
        (2, {0: 30}, f"processes 0 and 1 of 2 {OPEN}"),
        (3, {0: 30}, f"process 0 of 3 {RIGHT}"),
        (3, {2: 30}, f"process 2 of 3 {RIGHT}"),
    ],
)
def test_flipped_bits_are_found_and_the_minority_is_named_or_all_where_there_is_none(size, bits, said) -> None:
    def work(group: ProcessGroup) -> None:
        model = tiny_model(LLAMA, TOKENIZER)
        check_weights(group, model)
        if group.rank in bits:
            flip(model.network.score.weight, bits[group.rank])
        check_weights(group, model)

    results = together(size, work)
    assert [result.code for result in results] == [5] * size
    assert all(result.error.endswith(f"weights of {said}") for result in results), results


class Heard(ProcessGroup):
    """A process that hears from others that weights number 0 and up are kept by them, some changed."""

    def __init__(self, parts: list[int], changed: dict[int, int]) -> None:
        super().__init__(Rank(0, len(parts)))
        self.parts, self.changed = parts, changed

    def gather(self, value: Any) -> list[Any]:
        first, *rest = value[1]
        return [[part, [first + self.changed.get(rank, 0), *rest]] for rank, part in enumerate(self.parts)]


@pytest.mark.parametrize(
    ("parts", "changed", "said"),
    [
        ([0, 0, 0], {0: 1, 1: 2}, ["processes 0, 1 and 2 of 3 differ"]),
        ([0, 0, 0, 0], {0: 1, 1: 1}, ["processes 0, 1, 2 and 3 of 4 differ"]),
        ([0, 0, 0, 0, 0], {1: 3, 3: 4}, ["processes 1 and 3 of 5 are not those"]),
        ([0, 1, 0, 1], {0: 1, 3: 1}, ["processes 0 and 2 of 4 differ", "processes 1 and 3 of 4 differ"]),
        ([0, 1, 0, 1, 0, 1], {0: 1, 5: 1}, ["process 0 of 6 are not those", "process 5 of 6 are not those"]),
        ([0, 1, 0, 1], {0: 1, 2: 1}, []),
    ],
)
def test_only_a_majority_of_the_copies_of_a_shard_is_taken_for_right(parts, changed, said) -> None:
    found = caught(check_weights, Heard(parts, changed), tiny_model(LLAMA, TOKENIZER))
    told = str(found).split("; ") if found else []
    assert [each.startswith(f"weights of {words}") for each, words in zip(told, said, strict=True)] == [True] * len(
        said
    )


def test_copies_of_a_shard_are_compared_with_each_other_alone() -> None:
    def work(group: ProcessGroup, harm: bool) -> None:
        model = tiny_model(LLAMA, TOKENIZER)
        strategy = FSDP(group, model, Parallel(mode="hybrid", processes_per_copy=2), torch.device("cpu"))
        if harm and group.rank == 3:
            flip(model.network.model.layers[0].mlp.up_proj.weight.to_local(), 3)
        strategy.check_weights()

    values(4, lambda group: work(group, False))
    results = together(4, lambda group: work(group, True))
    assert [result.code for result in results] == [5] * 4
    assert all("processes 1 and 3 of 4 differ" in result.error and "up_proj" in result.error for result in results)
