"""Rows and shapes of `gpu.py`, and its first stages: the machine, and the engines against padded rows."""

import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from trial import llama

SCORES = {"float32": 1e-4, "bfloat16": 3e-2}
"""Largest difference of scores taken for rounding, as a share of the largest score."""
GRADIENT = {"float32": 1e-3, "bfloat16": 8e-2}
"""Largest difference of a gradient taken for rounding, as a share of its norm."""


class Found(NamedTuple):
    """A row of the table; `ok` is None for a figure that is neither right nor wrong."""

    what: str
    value: str
    ok: bool | None = None


class Bench(NamedTuple):
    """Where the stages run.

    Attributes:
        device: `cpu` or `cuda`.
        tiny: True for shapes and steps of a dry run.
        folder: of a stage's own, empty.
    """

    device: str
    tiny: bool
    folder: Path

    @property
    def on_gpu(self) -> bool:
        """True on CUDA."""
        return self.device == "cuda"


Rows = Iterator[Found]


def tried(what: str, work: Callable[[], Found]) -> Found:
    """Return the row of `work`, or a failed row with the error: one engine must not hide the others."""
    try:
        return work()
    except Exception as error:
        traceback.print_exc()
        return Found(what, f"{type(error).__name__}: {str(error).splitlines()[0]:.120}", False)


def shape_of(bench: Bench) -> dict[str, Any]:
    """A decoder with heads of 64, or of 16 in a dry run."""
    return llama(64, 2, 4, 128, num_key_value_heads=2) if bench.tiny else llama(512, 4, 8, 1376, num_key_value_heads=4)


def families(bench: Bench) -> dict[str, dict[str, Any]]:
    """Shapes of the families of decoders."""
    base = shape_of(bench)
    if bench.tiny:
        return {"llama": base}
    return {
        "llama": base,
        "qwen3": {**base, "model_type": "qwen3", "head_dim": 64},
        "gemma": {**base, "model_type": "gemma", "head_dim": 64},
        "gpt2": {"model_type": "gpt2", "n_embd": 512, "n_layer": 4, "n_head": 8, "n_positions": 4096},
        "gpt_neox": {**base, "model_type": "gpt_neox"},
    }


def machine(bench: Bench) -> Rows:
    """The device, the software, and the fastest matrix product."""
    import torch
    from turns import matmul_flops

    from bradley.training.checkpoints.identity import versions

    yield Found("versions", ", ".join(f"{name} {version}" for name, version in versions().items()))
    if bench.on_gpu:
        about = torch.cuda.get_device_properties(0)
        gib = about.total_memory / 2**30
        yield Found("device", f"{about.name}, {gib:.0f} GiB, compute {about.major}.{about.minor}", gib > 20)
    for precision in ("float32", "bfloat16") if bench.on_gpu else ("float32",):
        yield Found(f"matrix product in {precision}", f"{matmul_flops(bench.device, precision) / 1e12:.2f} TFLOP/s")


def built(bench: Bench, shape: dict[str, Any], **settings: Any) -> tuple[Any, Any, Any]:
    """A model on the device, with a token store of comparisons of four responses and the tokenizer."""
    import torch
    from engine import synthetic

    from bradley.config import Model, Render
    from bradley.data.render import Renderer
    from bradley.data.token_store import build_store
    from bradley.data.tokenizer import texts_of, train_tokenizer
    from bradley.model.build import build_model

    rows = synthetic(4)[: 6 if bench.tiny else 24]
    tokenizer = train_tokenizer(texts_of(rows), 320)
    model = build_model(
        Model(config=shape, tokenizer="train", **settings), tokenizer, 0, torch.device(bench.device), 1024
    ).model
    store = build_store(rows, Renderer(tokenizer, Render(max_tokens=1024), causal=True), training=True)
    return model, store, tokenizer


def difference(bench: Bench, shape: dict[str, Any], precision: str, engine: str, **settings: Any) -> Found:
    """Scores and gradients of an engine against those of padded rows in float32 of the same weights."""
    import numpy as np
    import torch

    from bradley.losses import bradley_terry
    from bradley.model.engine.batch import collate

    def run(name: str, **options: Any) -> tuple[Any, Any]:
        model, store, _ = built(bench, shape, precision=precision, engine=name, **options)
        batch = collate(store, np.arange(len(store)), store.judgment_weights("prompt")).to(bench.device)
        scores = model(batch)
        bradley_terry(scores, batch.targets).sum.backward()
        return scores.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    (scores, gradient), (others, other) = run("plain"), run(engine, **settings)
    apart = float((scores - others).abs().max() / scores.abs().max())
    turned = float((gradient - other).norm() / gradient.norm())
    how = "".join(f", {name}" for name in settings)
    what = f"{shape['model_type']} {engine} {precision}{how}: scores, gradient"
    return Found(what, f"{apart:.1e}, {turned:.1e}", apart <= SCORES[precision] and turned <= GRADIENT[precision])


def engines(bench: Bench) -> Rows:
    """Each engine against padded rows, for each family, and recomputed and compiled."""
    cases: list[tuple[str, str, str, dict[str, Any]]] = [("llama", "float32", "segments", {})]
    if bench.on_gpu:
        cases = [
            *((family, "bfloat16", engine, {}) for family in families(bench) for engine in ("varlen", "flex")),
            *((family, "float32", "flex", {}) for family in families(bench)),
            ("llama", "float32", "segments", {}),
            ("llama", "bfloat16", "segments", {}),
            *(("llama", "bfloat16", e, {"gradient_checkpointing": True}) for e in ("varlen", "flex")),
            *(("llama", "bfloat16", e, {"compile": True}) for e in ("varlen", "flex")),
        ]
    for family, precision, engine, options in cases:
        shape = families(bench)[family]
        name = " ".join([family, engine, precision, *options])
        yield tried(name, partial(difference, bench, shape, precision, engine, **options))
