"""The timer: seconds by phase add up, tokens are counted once and as padded."""

import time

import numpy as np
import pytest
import torch

from bradley.data.micro_batches import measure
from bradley.training.tracking.timing import Timer
from tests.helpers import comparisons, store_for


def test_seconds_of_a_phase_add_up_until_they_are_read():
    timer = Timer(torch.device("cpu"))
    for _ in range(2):
        with timer.phase("forward"):
            time.sleep(0.02)
    row = timer.read()
    assert 0.04 <= row["seconds/forward"] <= row["seconds"] <= row["seconds_since_start"]
    assert row["peak_memory_gib"] > 0.05 and not [key for key in row if key.startswith("gpu/")]
    assert "seconds/forward" not in timer.read()
    timer.close()


def test_tokens_are_counted_once_and_as_padded():
    store = store_for(comparisons(4))
    timer = Timer(torch.device("cpu"))
    timer.count(measure(store), [np.array([0, 1]), np.array([2, 3])])
    row = timer.read()
    assert row["unique_tokens_per_second"] * row["seconds"] == pytest.approx(len(store.tokens))
    assert row["padded_tokens_per_second"] * row["seconds"] == pytest.approx(
        4 * store.longest()[:2].max() + 4 * store.longest()[2:].max()
    )


class Mark:
    """An event of CUDA on a GPU that takes 5 ms for each phase, and the waits of the host."""

    clock, waits = 0, 0

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        Mark.clock += 5
        self.at = Mark.clock

    def elapsed_time(self, other):
        assert Mark.waits == 1, "read before the GPU was waited for"
        return other.at - self.at


def test_on_a_gpu_the_host_waits_once_when_the_figures_are_read(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Event", Mark)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: setattr(Mark, "waits", Mark.waits + 1))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 2**30)
    timer = Timer(torch.device("cuda"))
    for name in ("forward", "backward", "forward"):
        with timer.phase(name):
            assert Mark.waits == 0
    row = timer.read()
    assert (row["seconds/forward"], row["seconds/backward"], row["peak_memory_gib"]) == (0.01, 0.005, 1.0)
    assert "seconds/forward" not in timer.read()
