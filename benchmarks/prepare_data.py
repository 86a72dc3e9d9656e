"""Preference pairs from a file to token ids: bradley's loading and token store against TRL's own preparation.

    python benchmarks/prepare_data.py ../shared/data/human_mix/train.jsonl.gz [--repeats 5]

Each side reads the same file and renders the same conversations with the same tokenizer and chat template, in a
process of its own with empty caches; sides alternate, and imports are not timed. TRL prepares what `datasets` has
loaded (`RewardTrainer._prepare_dataset`) with one process and with one per core; its better median counts. bradley also
checks, deduplicates and accounts for every row, and lays out shared prompts once.

Needs `trl` and `datasets`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

VOCABULARY = 8000
MAX_TOKENS = 1024
SIDES = ("bradley", "trl 1 process", f"trl {os.cpu_count()} processes")


def make_tokenizer(file: str, folder: Path) -> None:
    """A byte-level BPE with a chat template, learned from the file."""
    from bradley.config import Data
    from bradley.data.load import load_splits
    from bradley.data.tokenizer import texts_of, train_tokenizer

    rows = load_splits(Data(train=file, valid_share=0.0, limit=4000), 0).train
    train_tokenizer(texts_of(rows), VOCABULARY).save_pretrained(folder)


def prepare_bradley(file: str, folder: str, cache: Path) -> tuple[float, list[list[int]]]:
    """Seconds, and the ids of the chosen responses of the first rows."""
    from bradley.config import Data, Render
    from bradley.data.load import load_splits
    from bradley.data.render import Renderer
    from bradley.data.token_store import build_store
    from bradley.data.tokenizer import load_tokenizer

    renderer = Renderer(load_tokenizer(folder), Render(max_tokens=MAX_TOKENS, over_long="drop"), causal=True)
    began = time.perf_counter()
    splits = load_splits(Data(train=file, valid_share=0.0), 0)
    store = build_store(splits.train, renderer, training=True, cache=cache)
    seconds = time.perf_counter() - began
    return seconds, [store.response_ids(number, 0).tolist() for number in range(50)]


def prepare_trl(file: str, folder: str, processes: int, cache: Path) -> tuple[float, list[list[int]]]:
    """Seconds, and the ids of the chosen responses of the first rows."""
    os.environ["HF_DATASETS_CACHE"] = str(cache)
    from datasets import load_dataset
    from transformers import AutoTokenizer
    from trl import RewardTrainer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    args = SimpleNamespace(dataset_num_proc=processes if processes > 1 else None, max_length=MAX_TOKENS)
    began = time.perf_counter()
    dataset = load_dataset("json", data_files=file, split="train")
    prepared: Any = RewardTrainer._prepare_dataset(None, dataset, tokenizer, args, "train")
    seconds = time.perf_counter() - began
    return seconds, [list(ids) for ids in prepared[:50]["chosen_ids"]]


def run_side(side: str, file: str, folder: str) -> None:
    """One measurement, printed as JSON."""
    with tempfile.TemporaryDirectory() as cache:
        if side == "bradley":
            seconds, ids = prepare_bradley(file, folder, Path(cache))
        else:
            seconds, ids = prepare_trl(file, folder, int(side.split()[1]), Path(cache))
    print(json.dumps({"seconds": seconds, "ids": ids}))


def measure(side: str, file: str, folder: Path) -> dict[str, Any]:
    """One measurement in a process of its own."""
    command = [sys.executable, __file__, file, "--side", side, "--tokenizer", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Measure every side in turn and print the ratio of medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--tokenizer", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        return run_side(args.side, args.file, args.tokenizer)
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    ids: dict[str, list[list[int]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        make_tokenizer(args.file, Path(folder))
        for _ in range(args.repeats):
            for side in SIDES:
                found = measure(side, args.file, Path(folder))
                seconds[side].append(found["seconds"])
                ids[side] = found["ids"]
    for side, times in seconds.items():
        spread = f"{min(times):.2f} to {max(times):.2f}"
        print(f"{side:<16} median {statistics.median(times):6.2f} s  ({spread})")
    same = sum(any(mine == theirs for theirs in ids[SIDES[1]]) for mine in ids["bradley"])
    print(
        f"{same} of bradley's first {len(ids['bradley'])} chosen sequences are among TRL's first {len(ids[SIDES[1]])}"
    )
    best = min(statistics.median(seconds[side]) for side in SIDES[1:])
    print(f"ratio {best / statistics.median(seconds['bradley']):.2f}")


if __name__ == "__main__":
    main()
