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
        "status.json": {"state": "done", "code": 0, "what": "", "where": "", "fix": ""},
        "examples.json": _examples(rows["valid"], text),
    }
    for name, value in write.items():
        (folder / name).write_text(json.dumps(value))
    (folder / "eval").mkdir()
    lines = {
        "metrics": make_events(draw),
        "timing": make_timing(),
        "eval/distributions": make_distributions(draw),
        "eval/samples": _samples(rows, text),
        **{f"eval/{name}-best": [row.to_json() for row in table] for name, table in rows.items()},
    }
    for name, content in lines.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in content))
    return folder


def make_old_run(folder):
    """The run of an earlier version: no distributions, samples, histograms or calibration, and single examples."""
    make_run(folder)
    for name in ("timing.jsonl", "eval/distributions.jsonl", "eval/samples.jsonl"):
        (folder / name).unlink()
    report = json.loads((folder / "data_report.json").read_text())
    train = report["splits"]["train"]
    train["tokens"].pop("histograms")
    for entry in (*train["rejected"].values(), *train["findings"].values()):
        examples = entry.pop("examples")
        entry["example"] = examples[0] if examples else ""
    (folder / "data_report.json").write_text(json.dumps(report))
    results = json.loads((folder / "results.json").read_text())
    for figures in results["sets"].values():
        for name in ("calibration", "auroc", "chosen_reward_std", "length_correlation", "length_difference"):
            figures.pop(name)
    (folder / "results.json").write_text(json.dumps(results))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    lines = [{name: value for name, value in line.items() if "/term/" not in name} for line in lines]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
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


def make_timing():
    """A line every 10 steps, 2 seconds a step after the first 5 seconds, and one more after the last evaluation."""
    lines = [{"step": step, "seconds_since_start": 5.0 + 2.0 * step} for step in (1, *range(10, 601, 10))]
    return [*lines, {"step": 600, "seconds_since_start": 1230.0}]


def make_distributions(draw):
    """Histograms of 400 scores a side, which part while the model learns, at every evaluation of two sets."""
    lines = []
    for step in range(0, 601, 100):
        learnt = 1 - math.exp(-step / 180)
        for name, skill in (("train_probe", 1.5), ("valid", 1.0)):
            centres = {"chosen": 0.6 * skill * learnt, "rejected": -0.6 * skill * learnt}
            sides = {side: _histogram(draw.normal(centre, 0.3 + learnt / 2, 400)) for side, centre in centres.items()}
            lines.append({"kind": "scores", "step": step, "set": name, **sides})
    return lines


def _histogram(values, bins=24):
    counts, edges = np.histogram(values, bins)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def _samples(rows, text):
    names = [name for name, _, _ in SETS[:2]]
    return [
        {
            "kind": "samples",
            "step": step,
            "set": name,
            "rows": [_sample(i, row, text) for i, row in enumerate(rows[name][:4])],
        }
        for step in (0, 600)
        for name in names
    ]


def _sample(number, row, text):
    chosen, rejected = row.scores
    return {
        "id": row.id,
        "prompt": text(QUESTIONS[number]),
        "chosen": text("Put ice on it until it is hard, then lift it off with a blunt knife."),
        "rejected": text("" if number == 1 else "Wash it."),
        "chosen_score": chosen,
        "rejected_score": rejected,
        "correct": None if number == 3 else chosen > rejected,
    }


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
    figures |= {"term/bradley_terry": figures["loss"] - 0.03, "term/score_penalty": 0.02, "term/centering": 0.01}
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
    figures |= {
        "chosen_rewards": 4 * accuracy - 2,
        "rejected_rewards": 2 - 4 * accuracy,
        "reward_margin": 8 * accuracy - 4,
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
                "examples": [
                    {
                        "file": text("train.jsonl.gz"),
                        "row": 811,
                        "detail": text("chosen and rejected start with different prompts"),
                    },
                    {"file": text("train.jsonl.gz"), "row": 2090, "detail": text("no prompt before the last turn")},
                ],
            },
            "empty": {
                "count": 2,
                "examples": [{"file": "train.jsonl.gz", "row": 4410, "detail": text("no text after the last turn")}],
            },
        },
        "findings": {
            "identical": {"count": 31, "policy": "drop", "examples": [text("row 76"), text("row 1530")]},
            "duplicate": {"count": 17, "policy": "drop", "examples": [text("row 1204 repeats row 88")]},
            "leaked": {"count": 0, "policy": "error", "examples": []},
        },
        "tokens": {
            "prompt": {"mean": 118.2, "p50": 74, "p95": 402, "max": 1290},
            "response": {"mean": 131.9, "p50": 98, "p95": 371, "max": 1544},
            "histograms": {
                "prompt": {"edges": [0, 100, 200, 300, 400], "counts": [60, 30, 8, 2]},
                "chosen": {"edges": [0, 50, 100, 150, 200, 250], "counts": [20, 50, 20, 8, 2]},
                "rejected": {"edges": [0, 50, 100, 150, 200], "counts": [30, 45, 20, 5]},
            },
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
