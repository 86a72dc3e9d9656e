"""What the fault tests share: one uninterrupted run of the toy, and its calls."""

import gc

import pytest
import torch

from . import harness

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _cheap_forks():
    """A collection in a child would copy the pages of every object that it looks at."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def wanted():
    """The files of a run that nothing interrupted."""
    return harness.reference()


@pytest.fixture(scope="session")
def calls():
    """The calls of such a run."""
    return harness.calls_of_a_run()
