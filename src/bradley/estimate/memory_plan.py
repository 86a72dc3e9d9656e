"""Memory preview of a run from settings alone: no data are read, and no weight is allocated."""

from typing import Any

import torch

from ..common.text import GIB
from ..config import Config
from ..model.cost import TOKENS_AT_ONCE
from ..model.outline import outline
from ..model.reward import is_causal
from ..training.distributed.reproducible import gradients_held
from .memory import MODES, PARTS, Setup, memory_of
from .shapes import network_of

PER_NODE = 8
"""Default number of processes sharing a copy of the model under `hybrid`: the processes of a node."""
FASTEST = {"cpu": "segments", "cuda": "varlen"}
"""Engine of `model.engine = auto` by kind of device, for decoders."""


def plan_memory(config: Config, processes: int = 1) -> dict[str, Any]:
    """Compute the peak memory of each process of a run, as plain values; see `show_memory`.

    The count assumes a micro-batch filling the token budget. With gradients summed in a fixed order, the default on a
    CPU, all partial gradients of a process count.

    Args:
        config: settings of the run.
        processes: number of processes.

    Returns:
        Settings relevant to memory, numbers of parameters, and `bytes`: mode -> part -> bytes, see `memory_of`.

    Raises:
        BradleyError: the settings make no model, or the memory of the model or the optimizer is unknown.
    """
    device = device_of(config)
    drawn = outline(config.model)
    network = network_of(drawn, config.model.adapter.quantize)
    setup = setup_of(config, device, processes, causal=is_causal(drawn))
    per_copy = config.parallel.processes_per_copy or PER_NODE
    modes = modes_of(processes, per_copy)
    return {
        "device": device,
        "compute": "float32" if setup.number == 4 else "bfloat16",
        "optimizer": setup.optimizer,
        "engine": setup.engine,
        "gradient_checkpointing": setup.checkpointing,
        "micro_batch_tokens": setup.tokens,
        "partial_gradients": setup.partial_gradients,
        "processes": processes,
        "parameters": network.trained_numbers + network.frozen + network.quantized,
        "trained": network.trained_numbers,
        "bytes": {mode: memory_of(network, in_mode(setup, mode, processes, per_copy)) for mode in modes},
    }


def show_memory(found: dict[str, Any]) -> str:
    """Format the result of `plan_memory` as lines: a summary, then a table of GiB by part and mode."""
    modes = found["bytes"]
    head = [
        f"{found['parameters']:,} parameters, {found['trained']:,} trained by {found['optimizer']}",
        f"{found['compute']} on {found['device']}, engine {found['engine']}, micro-batches of "
        f"{found['micro_batch_tokens']:,} tokens"
        + (", gradient checkpointing" if found["gradient_checkpointing"] else ""),
        f"gradients held at once where each process has a copy of the model: {found['partial_gradients']}",
        f"GiB in each of {found['processes']} processes, computed and not measured:",
    ]
    width = max(map(len, modes)) + 2
    table = ["".join([f"{'':<14}", *(f"{mode:>{width}}" for mode in modes)])]
    for part in (*PARTS, "total"):
        table.append("".join([f"{part:<14}", *(f"{row[part] / GIB:>{width}.3f}" for row in modes.values())]))
    return "\n".join([*head, *table])


def device_of(config: Config) -> str:
    """Kind of device to plan for; the device need not exist in this machine."""
    named = config.train.device
    # Layers in 4 bits run on CUDA alone, so they decide even on a machine without a GPU.
    if config.model.adapter.quantize != "none" or (named == "auto" and torch.cuda.is_available()):
        return "cuda"
    return "cpu" if named == "auto" else named


def setup_of(config: Config, device: str, processes: int, *, causal: bool) -> Setup:
    """Collect the settings relevant to memory, for a single process.

    Args:
        config: settings of the run.
        device: `cpu` or `cuda`.
        processes: number of processes.
        causal: True for a decoder; encoders run on padded rows.
    """
    precision, model = config.model.precision, config.model
    bfloat16 = precision == "bfloat16" or (precision == "auto" and device == "cuda")
    options = {"betas": config.optim.betas, **config.optim.options}
    return Setup(
        tokens=config.train.micro_batch_tokens or TOKENS_AT_ONCE[device],
        longest=config.render.max_tokens,
        number=2 if bfloat16 else 4,
        engine=(FASTEST[device] if causal else "plain") if model.engine == "auto" else model.engine,
        checkpointing=model.gradient_checkpointing,
        optimizer=config.optim.name,
        options=options,
        partial_gradients=partial_gradients(config, processes) if in_fixed_order(config, device) else 1,
    )


def in_fixed_order(config: Config, device: str) -> bool:
    """Return True if data-parallel replicas sum gradients in an order independent of the number of processes."""
    wanted = config.parallel.canonical
    return wanted == "on" or (wanted == "auto" and device == "cpu")


def partial_gradients(config: Config, processes: int) -> int:
    """Most gradients held by a process if parts of a step are summed in a fixed order."""
    return gradients_held(min(config.train.batch_size, config.parallel.parts), processes)


def modes_of(processes: int, per_copy: int = PER_NODE) -> tuple[str, ...]:
    """Modes with different memory for a number of processes."""
    if processes == 1:
        return MODES[:1]
    return MODES if processes > per_copy else MODES[:3]


def in_mode(setup: Setup, mode: str, processes: int, per_copy: int = PER_NODE) -> Setup:
    """Adapt a setup to a mode and a number of processes."""
    if mode == "replicate":
        return setup
    shards = min(processes, per_copy) if mode == "hybrid" else processes
    # Collectives sum sharded gradients in an order of their own, so no partial gradients are held.
    return setup._replace(mode=mode, shards=shards, partial_gradients=1)
