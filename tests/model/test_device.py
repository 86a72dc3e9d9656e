"""Threads and memory on a CPU."""

import subprocess
import sys

import pytest
import torch

from bradley.errors import UserError
from bradley.model import device

FAULTS = """
import resource, torch
from bradley.model.device import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(12_000_000).sum()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
# The least of several rounds: a small block may still split a large freed one, and the heap then grows once more.
print(min(faults() for _ in range(4)))
keep_freed_memory()
print(min(faults() for _ in range(4)))
"""


@pytest.mark.skipif(device.platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed memory when it is told to")
def test_a_tensor_that_is_freed_gives_its_pages_to_the_next():
    """48 MB are 11,719 pages of 4 KB, five times over."""
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    before, kept = map(int, done.stdout.split())
    assert before > 50_000 and kept < 500


@pytest.mark.parametrize(
    "quota, cores", [("max 100000", 8), ("400000 100000", 4), ("150000 100000", 2), ("10000 100000", 1), (None, 8)]
)
def test_a_quota_bounds_the_cores(tmp_path, monkeypatch, quota, cores):
    monkeypatch.setattr(device, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda _: set(range(8)))
    if quota:
        (tmp_path / "cpu.max").write_text(quota + "\n")
    assert device.usable_cores() == cores


def test_threads_are_those_asked_for_or_no_more_than_can_run(monkeypatch):
    before = torch.get_num_threads()
    try:
        monkeypatch.setattr(device, "usable_cores", lambda: 1)
        device.set_threads(0)
        assert torch.get_num_threads() == 1
        device.set_threads(2)
        assert torch.get_num_threads() == 2
        monkeypatch.setattr(device, "usable_cores", lambda: 64)
        device.set_threads(0)
        assert torch.get_num_threads() == 2  # what it had, as OMP_NUM_THREADS may have said
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("wanted", [-1, 4097, 1_000_000, 2**63])
def test_more_threads_than_any_machine_has_are_refused(wanted):
    before = torch.get_num_threads()
    with pytest.raises(UserError, match=f"train.threads = {wanted}, wanted 0 to 4096"):
        device.set_threads(wanted)
    assert torch.get_num_threads() == before
