"""Shared fixtures, one CPU thread per test process, bytecode that is kept, and long modules first.

Processes of a parallel run with several threads each would wait for each other. Without bytecode each process that a
test starts compiles the whole source, which takes half a second.
"""

import gc
import os
import sys
from pathlib import Path

import hypothesis
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# A busy machine may hold any example for a second: no example has a deadline. Every run draws other examples.
hypothesis.settings.register_profile("check", max_examples=40, deadline=None)
hypothesis.settings.register_profile("night", max_examples=400, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "check"))
LONGEST = (
    "launch/test_training.py",
    "training/test_resume.py",
    "benchmarks/test_gpu.py",
    "faults/test_real_run.py",
    "fuzz/test_fuzz.py",
    "verify/test_verify.py",
    "model/test_adapters.py",
    "training/distributed/test_sharded_saves.py",
    "training/distributed/test_runs.py",
    "verify/test_moved_base.py",
    "faults/test_disk_full.py",
    "launch/test_local.py",
    "estimate/test_schedule.py",
    "faults/test_export.py",
    "training/test_run.py",
    "faults/test_crash.py",
    "report/test_page.py",
    "estimate/test_grouping.py",
    "model/test_execution.py",
    "model/engine/test_flex.py",
    "training/distributed/test_ddp_fsdp.py",
    "faults/test_stop.py",
    "estimate/test_memory_measured.py",
    "export/test_whole_path.py",
    "training/distributed/test_nonfinite.py",
    "faults/test_damage.py",
    "model/test_device.py",
    "model/engine/test_varlen.py",
    "faults/test_hangup.py",
    "model/engine/test_engine.py",
    "benchmarks/test_trial.py",
)
"""Modules that take longest, which run first.

With `--dist loadfile` a module is the work of one process. A long one that began last would keep the others waiting.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of `LONGEST` first; the rest keep the order of their paths."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish() -> None:
    """Leave collected tests out of garbage collection, which would copy hundreds of megabytes in every fork."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run folder, shared by the tests that only add files to it."""
    from tests.report.runs import make_run

    return make_run(tmp_path_factory.mktemp("runs") / "human-mix")
