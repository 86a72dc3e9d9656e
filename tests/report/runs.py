"""A run folder written by hand: the contract that the report reads, without a model or a training run."""

import json
import math

import numpy as np

from bradley.evaluate.summary import summarize
from bradley.evaluate.worst import worst_judgments
from tests.evaluate.tables import scored

QUESTIONS = (
    "How do I get candle wax out of a woollen tablecloth without a hot iron?",
    "Explain to a ten-year-old why the sky is dark at night if there are stars everywhere.",
    "Write a short note declining an invitation to a wedding, warm but without giving a reason.",
    "What is the difference between a virus and a bacterium, and why does it matter for treatment?",
)


def make_run(folder, text=str):
    """Write a run of 60 train events and 7 evaluations; `text` is applied to strings that a data set could hold."""
    draw = np.random.default_rng(0)
    rows = {name: _rows(draw, n, skill, text) for name, n, skill in SETS}
    folder.mkdir(parents=True)
    write = {
        "config.json": {
            "seed": 7,
            "data": {"train": text("human_mix/train.jsonl.gz"), "valid": "human_mix/val.jsonl.gz"},
            "model": {"path": "", "config": {"model_type": "llama", "hidden_size": 256}, "tokenizer": "train"},
            "loss": {"beta": 1.0, "weight_by": "prompt"},
            "optim": {"lr": 3e-4, "schedule": "cosine", "warmup": 0.05},
        },
        "environment.json": {
            "python": "3.11.9",
            "torch": "2.13.0",
            "transformers": "5.23.0",
            "platform": text("Linux-6.8-x86_64"),
            "cpu_count": 2,
            "threads": 2,
            "device": "cpu",
            "bradley": "0.1.0",
        },
        "results.json": {
            "best": {"step": 500, "metric": "accuracy", "value": 0.71},
            "steps": 600,
            "seconds": 1338.2,
            "engine": "shared prefix, sdpa",
            "parameters": 2_137_857,
            "sets": {name: summarize(table) for name, table in rows.items()},
        },
        "data_report.json": {"splits": _splits(text)},
        "examples.json": _examples(rows["valid"], text),
    }
    for name, value in write.items():
        (folder / name).write_text(json.dumps(value))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in make_events(draw)))
    (folder / "eval").mkdir()
    for name, table in rows.items():
        lines = "".join(json.dumps(row.to_json()) + "\n" for row in table)
        (folder / "eval" / f"{name}-best.jsonl").write_text(lines)
    return folder


SETS = (("valid", 400, 1.0), ("train_probe", 256, 1.5), ("hhh_alignment", 120, 0.5))


def _rows(draw, n, skill, text):
    return [
        scored(
            f"{text('row')} {i}",
            (draw.normal(0.5 * skill, 0.8), draw.normal(-0.5 * skill, 0.8)),
            prompt=f"prompt {i // 2}",
            lengths=tuple(int(length) for length in draw.lognormal((4.7, 4.6), 0.6)),
            source=text(("oasst", "webgpt", "summarize")[i % 3]),
            tags={text("subset"): text(("helpful", "harmless", "honest", "other")[i % 4])},
            source_scores=(float(draw.random() < 0.86), 0.5),
        )
        for i in range(n)
    ]


def make_events(draw):
    """60 train events, 10 steps apart, and evaluations of two sets every 100 steps from step 0."""
    events = []
    for step in range(0, 601, 10):
        learnt = 1 - math.exp(-step / 180)
        if step:
            events.append(_train(draw, step, learnt))
        if step % 100 == 0:
            events += [
                _eval(draw, step, "valid", 0.5 + 0.21 * learnt),
                _eval(draw, step, "train_probe", 0.5 + 0.32 * learnt),
            ]
    return events


def _train(draw, step, learnt):
    loss, accuracy = 0.693 - 0.22 * learnt, 0.5 + 0.3 * learnt
    figures = {
        "loss": loss + draw.normal(0, 0.04),
        "nll": loss,
        "accuracy": accuracy + draw.normal(0, 0.05),
        "chosen_rewards": learnt,
        "rejected_rewards": -learnt,
        "reward_margin": 2 * learnt,
        "mean_probability": 0.5 + learnt / 5,
        "share_above_99": 0.0,
        "lr": 3e-4 * min(1.0, step / 30) * 0.5 * (1 + math.cos(math.pi * step / 620)),
        "grad_norm": 2.0 * math.exp(draw.normal(0, 0.3)),
    }
    train = {f"train/rm/{name}": value for name, value in figures.items()}
    window = {"train_window/rm/loss": loss, "train_window/rm/accuracy": accuracy}
    return {"kind": "train", "step": step, "episode": 32 * step, "epoch": step / 320, **train, **window}


def _eval(draw, step, name, accuracy):
    figures = {
        "accuracy": accuracy,
        "accuracy_low": accuracy - 0.031,
        "accuracy_high": accuracy + 0.031,
        "loss": 0.72 - 0.4 * (accuracy - 0.45),
        "nll": 0.72 - 0.4 * (accuracy - 0.45),
    }
    figures = {f"eval/{name}/rm/{key}": value for key, value in figures.items()}
    return {"kind": "eval", "step": step, "episode": 32 * step, "epoch": step / 320, "set": name, **figures}


def _splits(text):
    train = {
        "sources": [
            {
                "path": text("human_mix/train.jsonl.gz"),
                "format": "preference",
                "rows": 10357,
                "sha256": "9f2c41d07ab3e6" * 4,
            }
        ],
        "rows": 10357,
        "comparisons": 10302,
        "judgments": 10302,
        "responses": 20604,
        "prompts": 5478,
        "rejected": {
            "irregular": {
                "count": 5,
                "example": {
                    "file": text("train.jsonl.gz"),
                    "row": 811,
                    "detail": text("chosen and rejected start with different prompts"),
                },
            },
            "empty": {
                "count": 2,
                "example": {"file": "train.jsonl.gz", "row": 4410, "detail": text("no text after the last turn")},
            },
        },
        "findings": {
            "identical": {"count": 31, "policy": "drop", "example": text("row 76")},
            "duplicate": {"count": 17, "policy": "drop", "example": text("row 1204 repeats row 88")},
            "leaked": {"count": 0, "policy": "error", "example": ""},
        },
        "tokens": {
            "prompt": {"mean": 118.2, "p50": 74, "p95": 402, "max": 1290},
            "response": {"mean": 131.9, "p50": 98, "p95": 371, "max": 1544},
            "ledger": {
                "prompt over limit": {"comparisons": 61, "tokens": 7012},
                "response over limit": {"comparisons": 3, "tokens": 1310},
            },
        },
    }
    valid = {"rows": 1537, "comparisons": 1537, "judgments": 1537, "responses": 3074, "prompts": 761}
    return {"train": train, "valid": valid}


def _examples(rows, text):
    long = "First, let the wax harden completely, with ice if need be, and lift off what comes away by itself. " * 9
    examples = []
    short, refusal = "Cold it, scrape it,\nthen brown paper.", "I am not able to help with that request."
    for number, (index, judgment, _) in enumerate(worst_judgments(rows, 4)):
        row, question = rows[index], QUESTIONS[number % len(QUESTIONS)]
        turns = (
            [("user", question)]
            if number != 1
            else [("system", "Be brief."), ("user", "Hello!"), ("assistant", "Hi."), ("user", question)]
        )
        examples.append(
            {
                "set": "valid", "id": row.id, "tags": row.tags,
                "prompt": [{"role": role, "content": text(content)} for role, content in turns],
                "chosen": [{"role": "assistant", "content": text(short if number else long)}],
                "rejected": [{"role": "assistant", "content": text("" if number == 2 else refusal)}],
                "chosen_score": row.scores[judgment.better], "rejected_score": row.scores[judgment.worse],
            }
        )  # fmt: skip
    return examples
