"""Shared fixtures, and one CPU thread per test process: processes of a parallel run would wait for each other."""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A complete run folder, shared by the tests that only add files to it."""
    from tests.report.runs import make_run

    return make_run(tmp_path_factory.mktemp("runs") / "human-mix")
