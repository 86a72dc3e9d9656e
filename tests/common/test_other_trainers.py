"""Checkpoints of other trainers in shards: refused with a command that makes them whole."""

import os
import shlex
import subprocess
import sys

import pytest
import torch
from torch.distributed import checkpoint as distributed

from bradley.common.other_trainers import shards_of
from bradley.config import Model
from bradley.errors import CheckpointError, RunFolderError
from bradley.model.build import build_model
from bradley.runs.record import read_record
from tests.helpers import LLAMA, comparisons, tiny_model, tokenizer_for

TOKENIZER = tokenizer_for(comparisons(20))


def put(path, content=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def deepspeed(folder):
    """The files that the Trainer leaves with ZeRO-2 on two processes."""
    put(folder / "latest", b"global_step12")
    put(folder / "global_step12/mp_rank_00_model_states.pt")
    for rank in range(2):
        put(folder / f"global_step12/bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
    put(folder / "config.json", b"{}")
    put(folder / "tokenizer.json", b"{}")
    put(folder / "trainer_state.json", b"{}")
    put(folder / "zero_to_fp32.py")
    return folder


def load(folder):
    return build_model(Model(path=str(folder)), TOKENIZER, 0, torch.device("cpu"))


def test_shards_of_zero_are_refused_with_the_command_that_makes_them_whole(tmp_path):
    folder = deepspeed(tmp_path / "my run" / "checkpoint-12")
    with pytest.raises(CheckpointError, match="holds shards of DeepSpeed, and no whole weights") as caught:
        load(folder)
    whole = f"'{folder}-whole'"
    merge = f"python '{folder}/zero_to_fp32.py' '{folder}' {whole} --safe_serialization"
    assert caught.value.hint.endswith(f"{merge} && cp '{folder}/config.json' '{folder}/tokenizer.json' {whole}")
    assert caught.value.exit_code == 4


def test_the_folder_of_one_step_is_known_as_well_and_the_tool_may_be_elsewhere(tmp_path):
    folder = deepspeed(tmp_path / "policy")
    for name in ("zero_to_fp32.py", "config.json", "tokenizer.json"):
        (folder / name).unlink()
    command = f"python -m deepspeed.utils.zero_to_fp32 {folder} {folder}-whole --safe_serialization"
    assert shards_of(folder).command == command
    assert shards_of(folder / "global_step12").command == f"{command} --tag global_step12"


def test_a_run_of_the_trainer_is_no_run_to_go_on_with_and_its_newest_checkpoint_is_named(tmp_path):
    for step in (5, 12, 100):
        deepspeed(tmp_path / f"checkpoint-{step}")
    with pytest.raises(RunFolderError, match="holds a checkpoint of DeepSpeed, and no run to go on with") as caught:
        read_record(tmp_path)
    assert f"{tmp_path}/checkpoint-100/zero_to_fp32.py" in caught.value.hint


@pytest.mark.transformers
def test_whole_weights_beside_shards_are_used(tmp_path):
    tiny_model(LLAMA, TOKENIZER).network.save_pretrained(tmp_path)
    wanted = load(tmp_path).model.state_dict()
    deepspeed(tmp_path / "shards")
    (tmp_path / "shards/global_step12").rename(tmp_path / "global_step12")
    assert all(torch.equal(wanted[name], value) for name, value in load(tmp_path).model.state_dict().items())


def test_other_folders_hold_no_shards(tmp_path):
    put(tmp_path / "model_states.pt")
    put(tmp_path / "checkpoint-last/optimizer.pt")
    put(tmp_path / "pytorch_model_fsdp_0/readme")
    assert shards_of(tmp_path) is None
    assert shards_of(tmp_path / "absent") is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_the_command_for_shards_of_fsdp_makes_a_model_folder_that_loads(tmp_path):
    """Run as it is printed, with Accelerate's own tool."""
    network = tiny_model(LLAMA, TOKENIZER).network
    folder = tmp_path / "checkpoint-3"
    network.config.save_pretrained(folder)
    distributed.save({"model": network.state_dict()}, checkpoint_id=folder / "pytorch_model_fsdp_0", no_dist=True)
    with pytest.raises(CheckpointError, match="holds shards of FSDP, and no whole weights") as caught:
        load(folder)
    assert shards_of(folder / "pytorch_model_fsdp_0") == shards_of(folder)
    command = caught.value.hint.partition("model.path: ")[2]
    path = f"{shlex.quote(os.path.dirname(sys.executable))}:$PATH"
    subprocess.run(["/bin/sh", "-c", f"PATH={path}; {command}"], check=True, capture_output=True, timeout=120)
    found = load(f"{folder}-whole").model.network.state_dict()
    assert all(torch.equal(found[name], value) for name, value in network.state_dict().items())
