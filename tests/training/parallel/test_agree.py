"""Processes of another run, and weights that have drifted, are found and named."""

import pytest
import torch

from bradley.config import Parallel
from bradley.training.parallel.agree import check_folder, check_same, check_weights, code_hash
from bradley.training.parallel.group import Group
from bradley.training.parallel.shards import Shards
from tests.helpers import LLAMA, tiny_model
from tests.training.jobs import TOKENIZER
from tests.training.parallel.processes import together, values


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


@pytest.mark.parametrize(("size", "drifted", "bit"), [(2, 1, 0), (3, 0, 30), (3, 2, 31 - 1)])
def test_one_flipped_bit_in_one_process_is_found_and_named(size: int, drifted: int, bit: int) -> None:
    def work(group: Group) -> None:
        model = tiny_model(LLAMA, TOKENIZER)
        check_weights(group, model)
        if group.rank == drifted:
            flip(model.network.score.weight, bit)
        check_weights(group, model)

    results = together(size, work)
    assert [result.code for result in results] == [5] * size
    for result in results:
        assert result.error.endswith(
            f"weights of process {drifted} of {size} are not those of the others: network.score.weight"
        )


def test_copies_of_a_shard_are_compared_with_each_other_alone() -> None:
    def work(group: Group, harm: bool) -> None:
        model = tiny_model(LLAMA, TOKENIZER)
        team = Shards(group, model, Parallel(mode="hybrid", processes_per_copy=2), torch.device("cpu"))
        if harm and group.rank == 3:
            flip(model.network.model.layers[0].mlp.up_proj.weight.to_local(), 3)
        team.check_weights()

    values(4, lambda group: work(group, False))
    results = together(4, lambda group: work(group, True))
    assert [result.code for result in results] == [5] * 4
    assert all("process 3 of 4" in result.error and "up_proj" in result.error for result in results)
