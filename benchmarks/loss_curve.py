"""The loss of every step on the engines `segments` and `plain`, from the same seed, and the largest difference.

    python benchmarks/loss_curve.py ../shared/data/hh_harmless_test/pairs.jsonl.gz [--steps 50] [--lr 1e-4]

Two whole runs of a 10M Llama shape (hidden 384, 6 layers, 6 heads), clipped at 1, constant rate; with --cuts the second
run differs in its micro-batches instead of its engine.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from trial import SHAPES

from bradley.config import Config
from bradley.training.run import train

SHAPE = {**SHAPES["10M"], "max_position_embeddings": 1024}


def losses(args: argparse.Namespace, engine: str, tokens: int, folder: Path) -> list[float]:
    """The loss of each step of one run."""
    settings: dict[str, Any] = {
        "data": {"train": args.data, "valid_share": 0.0},
        "render": {"max_tokens": 1024, "over_long": "drop"},
        "model": {"config": SHAPE, "tokenizer": "train", "vocab_size": 8000, "engine": engine},
        "train": {"batch_size": 16, "max_steps": args.steps, "threads": args.threads, "micro_batch_tokens": tokens},
        "optim": {"lr": args.lr, "schedule": "constant", "warmup": 0, "max_grad_norm": 1.0},
        "eval": {"train_probe": 0},
        "log": {"every": 1, "samples": 0},
    }
    run = train(Config(**settings), output=folder / f"{engine}-{tokens}")
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    return [row["train/rm/loss"] for row in rows if row["kind"] == "train"]


def main() -> None:
    """Train twice and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--cuts", action="store_true")
    args = parser.parse_args()
    other = ("segments", 1100) if args.cuts else ("plain", 8192)
    with tempfile.TemporaryDirectory() as folder:
        first, second = (losses(args, *arm, Path(folder)) for arm in (("segments", 0), other))
    apart = [abs(a - b) for a, b in zip(first, second, strict=True)]
    print(f"{len(apart)} steps, loss {first[0]:.4f} to {first[-1]:.4f} on segments, {second[-1]:.4f} on {other[0]}")
    print(f"largest difference {max(apart):.1e}, at step {apart.index(max(apart)) + 1}")


if __name__ == "__main__":
    main()
