"""What a run says of itself: on screen before the first step, and in the run folder's own files."""

import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy
import torch

from .. import __version__
from ..console import Console
from ..data.load import describe
from ..evaluate.worst import worst_judgments
from ..files import write_text
from ..records import Comparison, Message, ScoredComparison
from .build import Prepared

WORST_SHOWN = 24
POOLED_SHOWN = 3


def announce(prepared: Prepared, console: Console) -> None:
    """Say what will be trained on what: data, losses to limits, model, plan, and where three rows are pooled."""
    model, plan, config = prepared.built.model, prepared.plan, prepared.config
    console.say(describe(prepared.splits.report))
    for cause, row in prepared.train.ledger.causes.items():
        console.say(f"limits       {row['comparisons']} train comparisons {cause}, {row['tokens']} tokens lost")
    size = sum(p.numel() for p in model.parameters())
    compute = str(model.compute).removeprefix("torch.")
    console.say(f"model        {size / 1e6:.1f}M parameters on {model.device}, {compute}; head {prepared.built.head}")
    console.say(
        f"plan         {plan.num_steps} steps of {plan.batch_size} comparisons, {plan.steps_per_epoch} per epoch, "
        f"micro-batches of up to {plan.token_budget} tokens; seed {config.seed}"
    )
    for number in range(min(POOLED_SHOWN, len(prepared.train))):
        ids = prepared.train.response_ids(number, 0).tolist()
        tail = prepared.renderer.tokenizer.decode(ids[-8:])
        console.say(f"pooled at    {prepared.renderer.pooled_token(ids)} in ...{tail!r}, {len(ids)} tokens")


def describe_run(prepared: Prepared, folder: Path, source: str) -> None:
    """Write the files that are known before the first step."""
    if source:
        write_text(folder / "config.toml", source)
    write_text(folder / "config.json", _json(prepared.config.model_dump(mode="json")))
    write_text(folder / "environment.json", _json(environment(prepared)))
    write_text(folder / "data_report.json", _json(prepared.splits.report))
    (folder / "eval").mkdir(exist_ok=True)


def environment(prepared: Prepared) -> dict[str, Any]:
    """Versions and hardware; no environment variable, no path and no user name."""
    import transformers

    model = prepared.built.model
    return {
        "bradley": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(model.device),
        "device_name": torch.cuda.get_device_name() if model.device.type == "cuda" else platform.processor(),
        "compute": str(model.compute).removeprefix("torch."),
        "head": prepared.built.head,
    }


def worst_examples(prepared: Prepared, rows: dict[str, list[ScoredComparison]]) -> list[dict[str, Any]]:
    """The most wrongly scored judgments of each set, with their texts, worst first."""
    texts = {"test": prepared.splits.test, "train_probe": prepared.probe, **prepared.splits.evals}
    return [
        _example(name, texts[name][number], scored[number], judgment, margin)
        for name, scored in rows.items()
        for number, judgment, margin in worst_judgments(scored, WORST_SHOWN)
    ]


def _example(name: str, comparison: Comparison, row: ScoredComparison, judgment: Any, margin: float) -> dict[str, Any]:
    chosen, rejected = judgment.better, judgment.worse
    return {
        "set": name,
        "id": row.id,
        "prompt": _turns(comparison.prompt),
        "chosen": _turns(comparison.responses[chosen].messages),
        "rejected": _turns(comparison.responses[rejected].messages),
        "chosen_score": row.scores[chosen],
        "rejected_score": row.scores[rejected],
        "margin": margin,
        "tags": row.tags,
    }


def _turns(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"
