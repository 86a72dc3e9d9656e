"""Computed memory against measured: tensors alive as PyTorch's profiler counts them, and the process as Linux does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.profiler import ProfilerActivity, profile

from bradley.data.schedule import heaviest
from bradley.model.execution import checkpoint_activations
from bradley.training.guards.culprits import Replay
from bradley.training.guards.out_of_memory import MemoryGuard, probe
from bradley.training.loop import fit
from tests.estimate.memory_child import computed
from tests.helpers import BERT, GPT2, LLAMA
from tests.training.jobs import config, job

WIDE = {
    "llama": {**LLAMA, "hidden_size": 192, "num_hidden_layers": 4, "intermediate_size": 512},
    "gpt2": {**GPT2, "n_embd": 192, "n_layer": 4},
    "bert": {**BERT, "hidden_size": 192, "num_hidden_layers": 4, "intermediate_size": 768},
}
CASES = [
    ("llama", 400, False),
    ("llama", 3200, False),
    ("llama", 3200, True),
    ("gpt2", 3200, False),
    ("bert", 800, False),
]


def peak_of(work, folder):
    """The most bytes of tensors that are alive at once during some work, above those before it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        work()
    found.export_chrome_trace(str(folder / "trace.json"))
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    held = most = 0
    for event in events:
        if event.get("name") == "[memory]":
            held += event["args"]["Bytes"]
            most = max(most, held)
    assert most > 0
    return most


def job_of(folder, family, tokens, checkpointing, steps=2):
    made = job(folder, config(train={"batch_size": 24, "max_steps": steps, "micro_batch_tokens": tokens}), WIDE[family])
    if checkpointing:
        checkpoint_activations(made.model.network)
    return made, Replay(made.model, made.losses, made.store, made.weights, made.plan, 0)


@pytest.mark.parametrize(("family", "tokens", "checkpointing"), CASES)
def test_tensors_alive_in_a_step_are_what_is_computed(tmp_path, family, tokens, checkpointing):
    """Above weights, gradients and states, which are there before: activations exactly, working memory about."""
    made, again = job_of(tmp_path / "run", family, tokens, checkpointing)
    chosen, step = heaviest(made.plan), made.plan.step(1)
    again.backward(step, 0, chosen)
    made.optimizer.step()
    peak = peak_of(lambda: again.backward(step, 0, chosen), tmp_path)
    found = computed(made, checkpointing)
    assert 0.75 < peak / (found["activations"] + found["working"]) < 1.1
    assert peak > 0.9 * found["activations"]


def test_no_step_takes_more_than_the_probe_has_tried(tmp_path):
    """The heaviest micro-batch, twice, beside what the optimizer will keep: a run may take 10 % more."""
    made, again = job_of(tmp_path / "run", "llama", 800, False, steps=6)
    made.evaluator.stores = {}
    room = MemoryGuard(made.config, made.plan, made.store)
    tried = peak_of(lambda: probe(again, made.optimizer, made.strategy.gradients, made.config, room), tmp_path)
    taken = peak_of(lambda: fit(made), tmp_path)
    assert 0.7 * tried < taken < 1.1 * tried


@pytest.mark.nightly
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads peaks of resident memory from Linux")
def test_the_process_takes_no_more_than_the_heap_loses(tmp_path):
    """Peaks of resident memory of whole runs, checkpoints included: the heap keeps what is freed, in pieces."""
    cases = [
        {"model": WIDE[family], "tokens": tokens, "batch": 24, "steps": 2, "checkpointing": False}
        for family in ("llama", "gpt2")
        for tokens in (400, 1600, 3200)
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tests.estimate.memory_child", json.dumps(cases)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
    )
    for case, found in zip(cases, json.loads(done.stdout), strict=True):
        total = found["computed"]["total"]
        print(case["model"]["model_type"], case["tokens"], found["measured"], total)
        assert total < found["measured"] < 2.5 * total
        assert found["probed"] < found["measured"] < 2 * found["probed"]
