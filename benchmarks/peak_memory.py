"""Peak memory of training at one token budget and several batch sizes, each in a process of its own.

    python benchmarks/peak_memory.py ../shared/data/hh_harmless_test/pairs.jsonl.gz [--budget 2048]

Prints the peak resident size of each run of a few steps, and the largest over the smallest.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from loss_curve import SHAPE
from turns import peak_gib

from bradley.config import Config
from bradley.training.run import train


def one(data: str, budget: int, batch: int, steps: int, canonical: str) -> None:
    """Train a few steps and print the peak of this process in MiB."""
    settings = {
        "data": {"train": data, "valid_share": 0.0},
        "render": {"max_tokens": 1024, "over_long": "drop"},
        "model": {"config": SHAPE, "tokenizer": "train", "vocab_size": 8000},
        "train": {"batch_size": batch, "max_steps": steps, "micro_batch_tokens": budget},
        "eval": {"train_probe": 0},
        "log": {"samples": 0},
        "parallel": {"canonical": canonical},
    }
    with tempfile.TemporaryDirectory() as folder:
        train(Config.model_validate(settings), output=Path(folder) / "run")
    print(peak_gib("cpu") * 2**10)


def main() -> None:
    """Run every batch size and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--budget", type=int, default=2048)
    parser.add_argument("--batches", default="16,64,256")
    parser.add_argument("--comparisons", type=int, default=512, help="comparisons that each run trains on")
    parser.add_argument("--canonical", choices=["auto", "on", "off"], default="auto", help="see parallel.canonical")
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.batch:
        return one(args.data, args.budget, args.batch, max(2, args.comparisons // args.batch), args.canonical)
    peaks = []
    for batch in map(int, args.batches.split(",")):
        command = [sys.executable, __file__, *sys.argv[1:], "--batch", str(batch)]
        peaks.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]))
        print(f"batch {batch:>4}: peak {peaks[-1]:.0f} MiB")
    print(f"largest over smallest {max(peaks) / min(peaks):.3f} at {args.budget} tokens")


if __name__ == "__main__":
    main()
