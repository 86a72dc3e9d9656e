"""Measures what training takes: run as a program with one JSON list of cases, it prints one JSON list of results.

Each case runs in a fork of this process, which has imported and warmed up everything, so that what its peak of resident
memory adds to the start is the run's own.
"""

import json
import os
import re
import sys
import tempfile
from pathlib import Path

import torch

from bradley.data.schedule import heaviest
from bradley.estimate.memory import Setup, memory_of
from bradley.estimate.shapes import network_of
from bradley.model.device import keep_freed_memory
from bradley.model.execution import checkpoint_activations
from bradley.training.guards.culprits import Replay
from bradley.training.guards.out_of_memory import MemoryGuard, probe
from bradley.training.loop import fit
from tests.training.jobs import config, job

STATUS = Path("/proc/self/status")


def kib(name):
    return int(re.search(rf"{name}:\s+(\d+) kB", STATUS.read_text())[1])


def reset_peak():
    Path("/proc/self/clear_refs").write_text("5")


def settings_of(case):
    return config(
        train={"batch_size": case["batch"], "max_steps": case["steps"], "micro_batch_tokens": case["tokens"]},
        eval={"every": 1000},
    )


def measure(case):
    """Peak MiB of a run, and of the probe alone, above the start; and what is computed for it."""
    keep_freed_memory()
    reset_peak()
    start = kib("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        made = job(Path(folder) / "run", settings_of(case), case["model"])
        made.evaluator.stores = {}
        if case["checkpointing"]:
            checkpoint_activations(made.model.network)
        again = Replay(made.model, made.losses, made.store, made.weights, made.plan, 0)
        probe(
            again, made.optimizer, made.strategy.gradients, made.config, MemoryGuard(made.config, made.plan, made.store)
        )
        probed = kib("VmHWM")
        fit(made)
    return {
        "measured": (kib("VmHWM") - start) / 1024,
        "probed": (probed - start) / 1024,
        "computed": {part: size / 2**20 for part, size in computed(made, case["checkpointing"]).items()},
    }


def computed(made, checkpointing):
    """What is computed for the heaviest micro-batch of a job, in bytes."""
    sizes, chosen = made.plan.load.sizes, heaviest(made.plan)
    longest = int(sizes.longest[chosen].max())
    padded = int(sizes.rows[chosen].sum()) * longest
    tokens = padded if made.plan.load.padded else int(sizes.tokens[chosen].sum())
    setup = Setup(tokens, longest, 4, made.model.engine, checkpointing, "AdamW", {})
    return memory_of(network_of(made.model.network), setup)


def in_fork(case):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, json.dumps(measure(case)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    assert os.waitpid(child, 0)[1] == 0, "a measured run has failed"
    return json.loads(text)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as warm:
        fit(job(Path(warm) / "run", config(train={"max_steps": 1})))
    print(json.dumps([in_fork(case) for case in json.loads(sys.argv[1])]))
