"""Shared fixtures, one CPU thread per test process, bytecode that is kept, long modules first, no wait for the disk.

Processes of a parallel run with several threads each would wait for each other. Without bytecode each process that a
test starts compiles the whole source, which takes half a second.
"""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# A busy machine may hold any example for a second: no example has a deadline. Every run draws other examples, of each
# property 25 by day and 400 at night; a property that names its number is dear.
hypothesis.settings.register_profile("check", max_examples=25, deadline=None)
hypothesis.settings.register_profile("night", max_examples=400, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "check"))
LONGEST = (
    "training/distributed/test_sharded_saves.py",
    "training/test_resume.py",
    "faults/test_crash.py",
    "training/test_run.py",
    "fuzz/test_fuzz.py",
    "runs/test_finished.py",
    "training/distributed/test_runs.py",
    "launch/test_local.py",
    "model/test_adapters.py",
    "verify/test_verify.py",
    "runs/test_claim.py",
    "report/test_page.py",
    "faults/test_real_run.py",
    "launch/test_training.py",
    "training/distributed/test_ddp_fsdp.py",
    "scoring/test_claim.py",
    "training/distributed/test_sharded_files.py",
    "faults/test_stop.py",
    "runs/test_damaged_values.py",
    "training/test_changed_lines.py",
    "faults/test_hangup.py",
    "model/engine/test_flex.py",
    "training/test_loop.py",
    "benchmarks/test_gpu.py",
    "faults/test_disk_full.py",
    "estimate/test_memory_measured.py",
    "training/distributed/test_nonfinite.py",
    "estimate/test_schedule.py",
    "faults/test_damage.py",
    "faults/test_export.py",
    "model/engine/test_engine.py",
    "model/test_execution.py",
    "security/test_model_folders.py",
    "scoring/test_file.py",
    "test_layers.py",
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


SYNCED = {"faults", "common"}
"""Folders of tests whose subject is the disk, where `os.fsync` waits for the disk by day, too."""


@pytest.fixture(scope="module", autouse=True)
def no_wait_for_the_disk(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let `os.fsync` check the handle alone: no power is cut, and a checkpoint waits for the disk sixty times."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.parent.name not in SYNCED:
            patch.setattr(os, "fsync", lambda handle: os.fstat(handle) and None)
        yield


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run folder, shared by the tests that only add files to it."""
    from tests.report.runs import make_run

    return make_run(tmp_path_factory.mktemp("runs") / "human-mix")
