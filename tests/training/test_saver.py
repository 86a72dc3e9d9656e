"""Room on the disk is asked for before training, by the size that a checkpoint then has."""

import pytest

from bradley.errors import DiskError
from bradley.training.loop import fit
from bradley.training.saver import check_disk, checkpoint_bytes
from tests.training.jobs import config, job


@pytest.mark.parametrize("name", ["AdamW", "SGD", "Adafactor"])
def test_the_estimate_is_the_size_of_the_tensors_in_a_checkpoint(tmp_path, name):
    made = job(tmp_path / "run", config(optim={"name": name}, train={"max_steps": 2}))
    estimate = checkpoint_bytes(made.model.network, made.optimizer, made.config)
    fit(made)
    last = tmp_path / "run" / "checkpoints" / "step-000002"
    written = sum(path.stat().st_size for path in last.rglob("*.safetensors"))
    assert 0 < written - estimate < 40_000  # names and shapes in the headers


def test_a_disk_without_room_for_two_checkpoints_is_refused(tmp_path, monkeypatch):
    made = job(tmp_path / "run", config())
    size = checkpoint_bytes(made.model.network, made.optimizer, made.config)
    monkeypatch.setattr("bradley.common.space.free_bytes", lambda folder: 2 * size - 1)
    check_disk(made, begun=True)
    with pytest.raises(DiskError, match=f"{2 * size:,} bytes are needed") as error:
        check_disk(made, begun=False)
    assert error.value.exit_code == 7
