"""Compute the memory of familiar model shapes on familiar GPUs, as a table in Markdown."""

import functools
from typing import Any

import torch

from bradley.common.text import GIB
from bradley.config import Model
from bradley.estimate.memory import Network, Setup, memory_of
from bradley.estimate.shapes import network_of
from bradley.model.adapters import add_adapter

SHAPES: dict[str, dict[str, Any]] = {
    "0.1B": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "num_key_value_heads": 12,
             "intermediate_size": 2048, "vocab_size": 32000},
    "1B": {"hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
           "intermediate_size": 8192, "vocab_size": 128256},
    "3B": {"hidden_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 24, "num_key_value_heads": 8,
           "intermediate_size": 8192, "vocab_size": 128256},
    "8B": {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
           "intermediate_size": 14336, "vocab_size": 128256},
}  # fmt: skip
"""Llama shapes of the table: the larger three are those of Llama 3.1 and 3.2."""
LORA = {"kind": "lora", "rank": 16}
WAYS: dict[str, tuple[dict[str, Any], str, int]] = {
    "all weights, AdamW": ({}, "replicate", 1),
    "the same, AdamW8bit": ({"optimizer": "AdamW8bit"}, "replicate", 1),
    "LoRA, rank 16": ({"adapter": LORA}, "replicate", 1),
    "QLoRA, rank 16": ({"adapter": {**LORA, "quantize": "nf4"}}, "replicate", 1),
    "all weights, AdamW, 8 GPUs, `shard_optimizer_and_gradients`": ({}, "shard_optimizer_and_gradients", 8),
    "all weights, AdamW, 8 GPUs, `shard_all`": ({}, "shard_all", 8),
}
"""Rows of the table: what is trained and how, the mode, and the number of GPUs."""
GPUS = (24, 40, 80)
USABLE = 0.9
"""Share of a GPU's memory, in GiB as its name counts them, that tensors can have: the rest goes to the CUDA context and
to what the allocator cannot use again."""
STEP = 1024


def gpu_table() -> str:
    """Markdown: for each shape and way to train, GiB besides activations, MiB for 1,024 tokens of a micro-batch, and
    the largest budget of each GPU; with gradient checkpointing in brackets. Computed, not measured."""
    lines = [
        "Computed, not measured: bfloat16 over float32 weights, engine `varlen`. Under each GPU the largest budget in "
        "thousands (of 1,024) tokens; in brackets with gradient checkpointing; – where not even one thousand fits.",
        "",
        "| shape | trained | parameters | GiB besides activations | MiB per 1,024 tokens | "
        + " | ".join(f"{size} GB" for size in GPUS)
        + " |",
        "|---" * (5 + len(GPUS)) + "|",
    ]
    return "\n".join([*lines, *(_row(shape, way) for shape in SHAPES for way in WAYS)])


def _row(shape: str, way: str) -> str:
    changes, mode, processes = WAYS[way]
    adapter = changes.get("adapter", {})
    network = _network(shape, bool(adapter), adapter.get("quantize", "none"))
    setups = [
        Setup(STEP, STEP, 2, "varlen", on, changes.get("optimizer", "AdamW"), {}, mode=mode, shards=processes)
        for on in (False, True)
    ]
    fixed, each = zip(*(_line(network, setup) for setup in setups), strict=True)
    cells = [shape, way, f"{(network.trained_numbers + network.frozen + network.quantized) / 1e9:.2f}B"]
    cells += [f"{fixed[0] / GIB:.1f}", f"{each[0] / 2**20:.0f} ({each[1] / 2**20:.0f})"]
    for size in GPUS:
        fits = [int((USABLE * size * GIB - held) / more) for held, more in zip(fixed, each, strict=True)]
        cells.append(" ".join([_budget(fits[0]), f"({_budget(fits[1])})"]))
    return "| " + " | ".join(cells) + " |"


def _line(network: Network, setup: Setup) -> tuple[float, float]:
    """Bytes without a token, and bytes that `STEP` more tokens take."""
    one, two = (memory_of(network, setup._replace(tokens=count * STEP))["total"] for count in (1, 2))
    return 2 * one - two, two - one


def _budget(thousands: int) -> str:
    return str(thousands) if thousands > 0 else "–"


@functools.cache
def _network(shape: str, adapted: bool, quantize: str) -> Network:
    from transformers import LlamaConfig, LlamaForSequenceClassification

    with torch.device("meta"):
        network = LlamaForSequenceClassification(LlamaConfig(num_labels=1, **SHAPES[shape]))
        if adapted:
            add_adapter(network, Model.model_validate({"adapter": LORA}), "")
    return network_of(network, quantize)
