"""Stages of `gpu.py` that train: waits of the host, whole runs, sharded modes, adapters, and memory."""

import contextlib
import gc
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from gpu_stages import Bench, Found, Rows, difference, shape_of, tried
from trial import SHAPES

COLD_STEPS = 3
"""Steps in which kernels are compiled and memory is taken for the first time."""
MEMORY = (0.75, 1.25)
"""Measured peak over computed, as far as the computation claims to be right."""


def settings_of(bench: Bench, **sections: dict[str, Any]) -> Any:
    """A run on composed preferences."""
    from bradley.config.load import read_config

    base: dict[str, dict[str, Any]] = {
        "data": {"train": "synthetic:", "synthetic": {"comparisons": 120 if bench.tiny else 4000}, "valid_share": 0.2},
        "model": {"tokenizer": "train", "vocab_size": 512, "config": {**shape_of(bench), "initializer_range": 0.07}},
        "render": {"max_tokens": 256},
        "optim": {"lr": 5e-4, "betas": [0.9, 0.98]},
        "train": {"batch_size": 16 if bench.tiny else 64, "max_steps": 2 if bench.tiny else 80, "device": bench.device},
        "eval": {"every": 2 if bench.tiny else 40, "train_probe": 16},
        "log": {"samples": 0},
    }
    return read_config(base | {name: {**base.get(name, {}), **values} for name, values in sections.items()})


def trained(bench: Bench, name: str, **sections: dict[str, Any]) -> Any:
    """A finished run, without figures and report, which have no part in what is asked here."""
    import bradley
    from bradley.training import run

    run.write_pages = lambda folder, console: None
    return bradley.train(settings_of(bench, **sections), output=bench.folder / name)


def accuracy(run: Any) -> float:
    """Accuracy of the best model on `valid`."""
    return float(run.results["sets"]["valid"]["accuracy"]["value"])


def training(bench: Bench) -> Rows:
    """A run in the precision of the device, its export, and the proof of both folders."""
    import bradley
    from bradley.verify import verify

    began = time.monotonic()
    run = trained(bench, "run")
    found = accuracy(run)
    yield Found(
        f"{run.results['compute']}, {run.environment['engine']}, {run.results['steps']} steps: accuracy on valid",
        f"{found:.3f} in {time.monotonic() - began:.0f} s",
        found > 0.6 or bench.tiny,
    )
    exported = bradley.export_model(
        run.folder, bench.folder / "exported", dtype="bfloat16" if bench.on_gpu else "float32"
    )
    checks = [*exported.checks, *([] if bench.tiny else verify(run.model))]
    wrong = [check.name for check in checks if not check.passed]
    yield Found(
        "export and verify: checks passed", f"{len(checks) - len(wrong)} of {len(checks)} {wrong or ''}", not wrong
    )


def take_steps(made: Any, strategy: Any, model: Any, steps: int, inside: Any = contextlib.nullcontext) -> list[float]:
    """Losses of the first steps, as the loop takes them; `inside` is entered for each micro-batch of warm steps."""
    from bradley.model.engine.batch import collate
    from bradley.training.metrics import StepSums
    from bradley.training.objective import objective, share_of_step
    from bradley.training.optim import make_optimizer

    config, losses, found = made.config, objective(made.config.loss), []
    optimizer, weights = make_optimizer(model, config.optim), made.train.judgment_weights(config.loss.weight_by)
    for number in range(1, steps + 1):
        step = made.plan.step(number)
        totals = made.plan.totals(step)
        for part, chosen in strategy.share(made.plan, step):
            with inside() if number > COLD_STEPS else contextlib.nullcontext():
                batch = collate(made.train, chosen, weights).to(model.device)
                scores = strategy.forward(batch)
                terms = {name: loss(scores, batch.targets) for name, loss in losses.items()}
                share_of_step(terms.values(), totals).backward()
                strategy.collect(part, StepSums().add(terms, scores, batch.targets, config.loss.beta))
        found.append(StepSums(totals).merge(strategy.reduce()).loss)
        strategy.clip(config.optim.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return found


@contextlib.contextmanager
def no_waits() -> Iterator[None]:
    """Make each wait of the host for the GPU an error."""
    import torch

    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def waits(bench: Bench) -> Rows:
    """Micro-batches on which the host never waits for the GPU."""
    from bradley.training.build import prepare

    for engine in ("varlen", "flex") if bench.on_gpu else ("segments",):

        def run(engine: str = engine) -> Found:
            changes = {**settings_of(bench).model.model_dump(), "engine": engine}
            made = prepare(settings_of(bench, model=changes, train={"micro_batch_tokens": 1024}), {}, None)
            inside = no_waits if bench.on_gpu else contextlib.nullcontext
            losses = take_steps(made, made.strategy, made.built.model, COLD_STEPS + 2, inside)
            how = "no wait inside a micro-batch" if bench.on_gpu else "not counted on a CPU"
            return Found(
                f"{engine}: {COLD_STEPS + 2} steps", f"loss {losses[-1]:.4f}, {how}", True if bench.on_gpu else None
            )

        yield tried(engine, run)


def sharded(bench: Bench) -> Rows:
    """FSDP2 and DDP on one process against the same steps without either."""
    import torch
    import torch.distributed as dist

    from bradley.training.build import prepare
    from bradley.training.distributed.ddp import DDP
    from bradley.training.distributed.fsdp import build_in_shards
    from bradley.training.distributed.process_group import ProcessGroup

    backend = "cpu:gloo,cuda:nccl" if bench.on_gpu else "gloo"
    dist.init_process_group(backend, init_method=f"file://{bench.folder}/store", rank=0, world_size=1)
    group, device, steps = ProcessGroup(), torch.device(bench.device), 3

    def fresh(mode: str = "replicate") -> Any:
        order = {"canonical": "off"} if mode == "replicate" else {}
        return prepare(settings_of(bench, parallel={"mode": mode, **order}), {}, None)

    made = fresh()
    expected = take_steps(made, made.strategy, made.built.model, steps)

    def run(mode: str) -> Found:
        made = fresh(mode)
        if mode == "replicate":
            model, strategy = made.built.model, DDP(group, made.built.model)
        else:
            made_of_shards, strategy = build_in_shards(group, made.config, made.renderer.tokenizer, device)
            model = made_of_shards.model
        losses = take_steps(made, strategy, model, steps)
        apart = max(abs(a - b) for a, b in zip(expected, losses, strict=True))
        name = "DDP" if mode == "replicate" else mode
        return Found(
            f"{name}: losses of {steps} steps apart by", f"{apart:.1e}", apart < (2e-2 if bench.on_gpu else 1e-5)
        )

    for mode in ("replicate", "shard_optimizer_and_gradients", "shard_all"):
        yield tried(mode, partial(run, mode))
    dist.destroy_process_group()


def adapters(bench: Bench) -> Rows:
    """LoRA and QLoRA from a saved base, each trained and exported, and Liger's kernels against those of PyTorch."""
    from engine import synthetic
    from trial import make_model

    import bradley

    base = bench.folder / "base"
    make_model(synthetic(2)[:40], shape_of(bench), 256, 0, base)
    for name, quantize in (("LoRA", "none"), *([("QLoRA nf4", "nf4")] if bench.on_gpu else [])):

        def run(name: str = name, quantize: str = quantize) -> Found:
            model = {"path": str(base), "adapter": {"kind": "lora", "rank": 8, "quantize": quantize}}
            run = trained(bench, name.split()[0], model={**model, "tokenizer": "", "config": {}, "vocab_size": 4096})
            if bench.tiny:
                return Found(name, f"accuracy {accuracy(run):.3f}", True)
            exported = bradley.export_model(run.folder, bench.folder / f"exported-{quantize}")
            apart = f"export apart by {exported.largest_difference:.1e} of {exported.tolerance:.1e}"
            return Found(name, f"accuracy {accuracy(run):.3f}, {apart}", True)

        yield tried(name, run)
    if bench.on_gpu:
        case = partial(difference, bench, shape_of(bench), "bfloat16", "plain", liger=True)
        yield tried("Liger", case)
    else:
        yield Found("QLoRA, Liger", "on CUDA alone")


def memory(bench: Bench) -> Rows:
    """The peak of a few steps against the sum of `bradley plan --memory`."""
    import torch

    from bradley.estimate.memory_plan import plan_memory
    from bradley.training.build import prepare

    wide = shape_of(bench) if bench.tiny else {**SHAPES["1B"], "num_hidden_layers": 4}
    cases: dict[str, dict[str, Any]] = {
        "4 layers of 2048, varlen": {},
        "the same, recomputed": {"gradient_checkpointing": True},
        "the same, plain": {"engine": "plain"},
    }
    for name, changes in cases.items():

        def run(name: str = name, changes: dict[str, Any] = changes) -> Found:
            model = {**settings_of(bench).model.model_dump(), "config": wide, **changes}
            config = settings_of(
                bench, model=model, train={"micro_batch_tokens": 4096, "batch_size": 128, "max_steps": 3}
            )
            computed = plan_memory(config)["bytes"]["replicate"]["total"]
            if not bench.on_gpu:
                return Found(name, f"computed {computed / 2**30:.3f} GiB, measured on CUDA alone")
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            made = prepare(config, {}, None)
            take_steps(made, made.strategy, made.built.model, 2)
            share = (torch.cuda.max_memory_allocated() - before) / computed
            value = f"computed {computed / 2**30:.2f} GiB, measured {share:.2f} of it"
            return Found(name, value, MEMORY[0] <= share <= MEMORY[1])

        yield tried(name, run)
