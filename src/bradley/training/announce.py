"""Announce a run: lines on the screen before the first step, and files in the run folder about data and machine."""

import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import torch

from ..common.console import Console
from ..common.files import make_folder, write_text
from ..common.secrets import redact
from ..data.diagnostics import describe_changes
from ..data.ending import stopped
from ..data.preview import decoded_samples
from ..data.render import Renderer
from ..data.report import describe
from ..data.truncate import describe_ledger
from ..evaluate.worst import worst_judgments
from ..model.build import Built
from ..model.folder.warm_start import rendering_changes
from ..model.reward import compute_name
from ..model.trainable import count_weights
from ..records import Comparison, Message, ScoredComparison
from ..runs.layout import CONFIG, CONFIG_TOML, DATA_REPORT, ENVIRONMENT, EVAL, PROBE, SAMPLES, SELECTION
from .build import Prepared
from .checkpoints.identity import versions
from .checks import UNPROVABLE, provable
from .evaluation import Evaluator
from .objective import describe_objective
from .tracking.samples import sample_lines

WORST_SHOWN = 24
"""Judgments of each evaluation set in `examples.json`."""
POOLED_SHOWN = 3
"""Comparisons on the screen with the pooled token."""


def announce(prepared: Prepared, console: Console) -> None:
    """Print data, losses to limits and template, model, objective and plan, and the pooled token of three responses."""
    plan, config = prepared.plan, prepared.config
    for line in describe(prepared.splits.report).split("\n"):
        console.say(line)
    for line in describe_changes(prepared.splits.report):
        console.say(line)
    stores = {**prepared.stores, **({} if prepared.test is None else {"test": prepared.test})}
    # The probe repeats a part of training.
    for name in (name for name in stores if name != PROBE):
        for line in describe_ledger(name, stores[name].ledger):
            console.say(line)
    if not provable(config, prepared.splits, prepared.renderer):
        console.say(f"export       {UNPROVABLE}")
    for line in model_lines(prepared.built):
        console.say(line)
    for line in rendering_changes(config.model.path, prepared.renderer, prepared.train.ledger.kind):
        console.say(f"warm start   {line}")
    console.say(f"engine       {prepared.engine}")
    console.say(f"processes    {prepared.strategy.describe()}")
    for line in describe_objective(config.loss, prepared.train):
        console.say(f"objective    {line}")
    console.say(
        f"plan         {plan.num_steps} steps of {plan.batch_size} comparisons, {plan.steps_per_epoch} per epoch, "
        f"micro-batches of up to {plan.limit.tokens} tokens; seed {config.seed}"
        + (f"; stops after {config.train.stop_after}" if config.train.stop_after else "")
    )
    # The score is read at this token: a wrong template or a missing end token shows here before hours of training.
    for number in range(min(POOLED_SHOWN, len(prepared.train))):
        ids = prepared.train.response_ids(number, 0).tolist()
        tail = prepared.renderer.tokenizer.decode(ids[-8:])
        console.say(
            f"pooled at    {prepared.renderer.pooled_token(ids)} in ...{tail!r}, {len(ids)} tokens"
            f"{_stop(prepared.renderer, tail)}"
        )


def _stop(renderer: Renderer, tail: str) -> str:
    """Say where a policy stops before the scored token; "" where the policy stops at the scored token."""
    special = [token.content for token in renderer.tokenizer.added_tokens_decoder.values() if token.special]
    stop = stopped(tail, special)
    # Blank text after the last special token is the template's: a response would be more than blanks.
    if not renderer.causal or stop == tail or tail.removeprefix(stop).strip():
        return ""
    return f"; a policy stops before {tail.removeprefix(stop)!r}, which is added to its text"


def model_lines(built: Built) -> Iterator[str]:
    """Yield lines about the model: size, device, dtype and head; trained parameters by kind; number of visible GPUs."""
    model, counts = built.model, count_weights(built.model.network)
    size = sum(total for _, total in counts.values())
    yield f"model        {size / 1e6:.1f}M parameters on {model.device}, {compute_name(model)}; head {built.head}"
    yield from (f"base         {note}" for note in built.notes)
    kinds = ", ".join(f"{kind} {trained:,} of {total:,}" for kind, (trained, total) in sorted(counts.items()))
    trained = sum(trained for trained, _ in counts.values())
    yield f"trained      {trained:,} of {size:,} parameters ({trained / size:.2%}): {kinds}"
    if model.device.type == "cuda" and torch.cuda.device_count() > 1:
        yield f"device       one of {torch.cuda.device_count()} visible GPUs: each process uses a single one"


def describe_run(prepared: Prepared, folder: Path, source: str) -> None:
    """Write the files with contents known before the first step.

    Args:
        prepared: checked data, model and plan.
        folder: the run folder.
        source: text of the configuration file as given; '' without a file.
    """
    config = prepared.config
    if source:
        # Settings hold no secrets, but a comment in the file may hold a key.
        write_text(folder / CONFIG_TOML, redact(source))
    write_text(folder / CONFIG, _json(config.model_dump(mode="json")))
    write_text(folder / ENVIRONMENT, _json(environment(prepared)))
    write_text(folder / DATA_REPORT, _json(prepared.splits.report))
    if config.log.samples:
        write_text(folder / SAMPLES, _json(decoded(prepared, config.log.samples)))
    make_folder(folder / EVAL)


def decoded(prepared: Prepared, count: int) -> dict[str, Any]:
    """Decode the first `count` comparisons of every split from the token ids read by the model."""
    named = prepared.splits.by_name
    return {name: decoded_samples(rows, prepared.renderer, count) for name, rows in named.items()}


def show_samples(evaluator: Evaluator, console: Console) -> None:
    """Print the best model's scores of the samples: of the selecting set, or else of the first set with samples."""
    shown = evaluator.shown["best"]
    name = SELECTION if SELECTION in shown else next(iter(shown), "")
    if name:
        console.say(f"samples      of {name} at step {evaluator.best_step}: score of chosen, of rejected, texts")
        for line in sample_lines(shown[name]):
            console.say(line)


def environment(prepared: Prepared) -> dict[str, Any]:
    """Collect versions and hardware; no environment variable, no path and no user name."""
    model = prepared.built.model
    return {
        **versions(),
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(model.device),
        "device_name": torch.cuda.get_device_name() if model.device.type == "cuda" else platform.processor(),
        "compute": compute_name(model),
        "head": prepared.built.head,
        "engine": prepared.built.engine.name,
        "processes": prepared.strategy.group.size,
        "sums": prepared.strategy.order,
    }


def worst_examples(prepared: Prepared, rows: dict[str, list[ScoredComparison]]) -> list[dict[str, Any]]:
    """Find the judgments with the largest errors in each set, with texts, the largest error first.

    Args:
        prepared: with the texts of every set.
        rows: scored rows by name of the set.
    """
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
