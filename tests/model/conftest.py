"""What the tests of compiled models share."""

import functools

import pytest
import torch


@pytest.fixture
def traced(monkeypatch):
    """Everything of `torch.compile` but its code generator, which takes half a minute."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    yield torch._dynamo.utils.counters
    torch._dynamo.reset()
