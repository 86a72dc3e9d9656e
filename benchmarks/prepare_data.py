"""Preference pairs from a file to token ids: bradley's loading and token store against TRL and against `datasets`.

    python benchmarks/prepare_data.py ../shared/data/human_mix/train.jsonl.gz [--repeats 5]
    python benchmarks/prepare_data.py ../shared/data/human_mix/train.jsonl.gz --rows 200000 [--template raw]

Without `--rows`, the other side is TRL's own preparation (`RewardTrainer._prepare_dataset`) of what `datasets` has
loaded, with one process and with one per core.

With `--rows`, so many rows of three texts each are made of the file's texts, and the other side is
`datasets.load_dataset("json")` and `map` over both sides of a row, in batches, with one process and with one per core.
bradley is measured cold, with an empty cache, and warm, in a new process with the cache of the cold one.

Each side reads the same file and renders the same conversations with the same tokenizer and chat template, in a
process of its own; sides alternate, and imports are not timed. The better median of the other side counts. CPU time
includes threads and child processes. bradley also checks, deduplicates and accounts for every row, and lays out shared
prompts once.

Needs `trl` (without `--rows`) and `datasets`.
"""

import argparse
import gzip
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

VOCABULARY = 8000
MAX_TOKENS = 1024
SAME = 50
"""Rows with ids that are compared."""
CHARACTERS = (60, 415)
"""Fewest and most characters of a made text."""
CORES = os.cpu_count() or 1
WARM_SECONDS = 5.0
"""Longest warm load that counts as reached."""


def make_tokenizer(file: str, folder: Path) -> None:
    """A byte-level BPE with a chat template, learned from the file."""
    from bradley.config import Data
    from bradley.data.load import load_splits
    from bradley.data.tokenizer import texts_of, train_tokenizer

    rows = load_splits(Data(train=file, valid_share=0.0, limit=4000), 0, cache=None).train
    train_tokenizer(texts_of(rows), VOCABULARY).save_pretrained(folder)


def make_rows(file: str, rows: int, path: Path, seed: int = 0) -> None:
    """Write rows of three plain texts, joined and cut from the texts of a file; no two prompts are equal."""
    with gzip.open(file, "rt", encoding="utf-8") as source:
        turns = [turn for line in source for turn in turns_of(json.loads(line))]
    rng = np.random.default_rng(seed)
    with path.open("w", encoding="utf-8") as made:
        for number in range(rows):
            prompt, chosen, rejected = (make_text(rng, turns) for _ in range(3))
            row = {"prompt": f"{number}: {prompt}", "chosen": chosen, "rejected": rejected}
            made.write(json.dumps(row, ensure_ascii=False) + "\n")


def turns_of(row: dict[str, Any]) -> list[str]:
    """Every text of a row of messages or of plain texts."""
    sides = [row[key] for key in ("prompt", "chosen", "rejected")]
    return [turn for side in sides for turn in ([side] if isinstance(side, str) else [m["content"] for m in side])]


def make_text(rng: np.random.Generator, turns: list[str]) -> str:
    """Stretches of random texts, joined to a text of a drawn length."""
    length, text = int(rng.integers(*CHARACTERS)), ""
    while len(text) < length:
        turn = turns[int(rng.integers(len(turns)))]
        start = int(rng.integers(max(1, len(turn) - length)))
        text += ("\n\n" if text else "") + turn[start : start + length]
    return text[:length]


class Clock:
    """Wall and CPU seconds since the start, threads and ended child processes included."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), cpu_seconds()

    def read(self) -> dict[str, float]:
        """Seconds since the start, and the peak memory of this process in MiB."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        return {"seconds": time.perf_counter() - self.wall, "cpu": cpu_seconds() - self.cpu, "peak_mib": peak}


def cpu_seconds() -> float:
    """CPU seconds of this process and its ended children."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def prepare_bradley(file: str, folder: str, template: str, cache: Path) -> dict[str, Any]:
    """What it took, and the ids of the chosen responses of the first rows."""
    from bradley.config import Data, Render
    from bradley.data.load import load_splits
    from bradley.data.prefetch import Prefetch
    from bradley.data.render import PROBE, Renderer
    from bradley.data.token_store import build_store
    from bradley.data.tokenizer import load_tokenizer

    # An end token would be bradley's alone; a chat template writes its own.
    render = Render(template=template, max_tokens=MAX_TOKENS, over_long="drop", eos="never")
    tokenizer = load_tokenizer(folder)
    prefetch = Prefetch(Renderer(tokenizer, render, causal=True))
    renderer = Renderer(tokenizer, render, causal=True, prefetch=prefetch)
    renderer.text(*PROBE)
    clock = Clock()
    splits = load_splits(Data(train=file, valid_share=0.0), 0, cache=cache, prefetch=prefetch)
    loaded = clock.read()["seconds"]
    store = build_store(splits.train, renderer, training=True, cache=cache)
    found = clock.read() | {"loading": loaded}
    return found | {"ids": [store.response_ids(number, 0).tolist() for number in range(SAME)]}


def prepare_trl(file: str, folder: str, processes: int, cache: Path) -> dict[str, Any]:
    """What it took, and the ids of the chosen responses of the first rows."""
    os.environ["HF_DATASETS_CACHE"] = str(cache)
    from datasets import load_dataset
    from transformers import AutoTokenizer
    from trl import RewardTrainer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    args = SimpleNamespace(dataset_num_proc=processes if processes > 1 else None, max_length=MAX_TOKENS)
    clock = Clock()
    dataset = load_dataset("json", data_files=file, split="train")
    prepared: Any = RewardTrainer._prepare_dataset(None, dataset, tokenizer, args, "train")
    return clock.read() | {"ids": [list(ids) for ids in prepared[:SAME]["chosen_ids"]]}


def prepare_map(file: str, folder: str, template: str, processes: int, cache: Path) -> dict[str, Any]:
    """What `datasets` took, and the ids of the chosen responses of the first rows."""
    os.environ["HF_DATASETS_CACHE"] = str(cache)
    from datasets import disable_progress_bars, load_dataset
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    disable_progress_bars()

    def encode(rows: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        return {f"{side}_ids": ids_of(tokenizer, template, rows["prompt"], rows[side]) for side in SIDES_OF_ROW}

    clock = Clock()
    dataset = load_dataset("json", data_files=file, split="train")
    several = {"num_proc": processes} if processes > 1 else {}
    mapped = dataset.map(encode, batched=True, remove_columns=dataset.column_names, **several)
    return clock.read() | {"ids": [list(ids) for ids in mapped[:SAME]["chosen_ids"]]}


SIDES_OF_ROW = ("chosen", "rejected")


def ids_of(tokenizer: Any, template: str, prompts: list[str], responses: list[str]) -> list[list[int]]:
    """Ids of conversations of two turns by the tokenizer's template, or of plain texts."""
    if template == "raw":
        texts = [prompt + response for prompt, response in zip(prompts, responses, strict=True)]
        return list(tokenizer(texts)["input_ids"])
    turns = [
        [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    texts = tokenizer.apply_chat_template(turns, tokenize=False)
    return list(tokenizer(texts, add_special_tokens=False)["input_ids"])


def run_side(args: argparse.Namespace) -> None:
    """One measurement, printed as JSON."""
    kind, _, count = args.side.partition(" ")
    with tempfile.TemporaryDirectory() as own:
        cache = Path(args.cache or own)
        if kind == "bradley":
            found = prepare_bradley(args.file, args.tokenizer, args.template, cache)
        elif kind == "datasets":
            found = prepare_map(args.file, args.tokenizer, args.template, int(count), cache)
        else:
            found = prepare_trl(args.file, args.tokenizer, int(count), cache)
    print(json.dumps(found))


def measure(side: str, file: str, folder: Path, template: str, cache: Path) -> dict[str, Any]:
    """One measurement in a process of its own."""
    command = [sys.executable, __file__, file, "--side", side, "--tokenizer", str(folder), "--template", template]
    done = subprocess.run([*command, "--cache", str(cache)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-4000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def take_turns(file: str, folder: Path, args: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Measure every side in turn: the other side's with empty caches, ours with an empty cache and then with it."""
    other = "datasets" if args.rows else "trl"
    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(args.repeats):
        with tempfile.TemporaryDirectory() as cache:
            for side in ("bradley cold", "bradley warm") if args.rows else ("bradley cold",):
                found.setdefault(side, []).append(measure(side, file, folder, args.template, Path(cache)))
        for processes in dict.fromkeys((1, CORES)):
            with tempfile.TemporaryDirectory() as cache:
                side = f"{other} {processes}"
                found.setdefault(side, []).append(measure(side, file, folder, args.template, Path(cache)))
    return found


def report(found: dict[str, list[dict[str, Any]]]) -> None:
    """Print medians, spreads, equal ids and ratios."""
    medians = {}
    for side, turns in found.items():
        parts = []
        for name, unit in (("seconds", "s"), ("cpu", "s of CPU")):
            values = [turn[name] for turn in turns]
            medians[side, name] = statistics.median(values)
            parts.append(f"median {medians[side, name]:7.2f} {unit} ({min(values):.2f} to {max(values):.2f})")
        print(f"{side:<14} {', '.join(parts)}, peak {max(turn['peak_mib'] for turn in turns):.0f} MiB")
    others = [side for side in found if not side.startswith("bradley")]
    theirs, ours = found[others[0]][-1]["ids"], found["bradley cold"][-1]["ids"]
    print(f"{sum(row in theirs for row in ours)} of bradley's first {len(ours)} chosen sequences are among the other's")
    for name in ("seconds", "cpu"):
        best = min(medians[side, name] for side in others)
        print(f"ratio in {name} {best / medians['bradley cold', name]:.2f}")
    if "bradley warm" in found:
        warm = medians["bradley warm", "seconds"]
        print(f"warm {warm:.2f} s, {'under' if warm < WARM_SECONDS else 'over'} {WARM_SECONDS:.0f} s")


def main() -> None:
    """Measure every side in turn and print the ratios of medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, default=0, help="rows to make; 0 for the file itself, against TRL")
    parser.add_argument("--template", choices=("tokenizer", "raw"), default="tokenizer")
    for name in ("side", "tokenizer", "cache"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        return run_side(args)
    with tempfile.TemporaryDirectory() as place:
        folder, file = Path(place) / "tokenizer", args.file
        make_tokenizer(args.file, folder)
        if args.rows:
            file = str(Path(place) / "rows.jsonl")
            make_rows(args.file, args.rows, Path(file))
            print(f"{args.rows:,} rows, {Path(file).stat().st_size / 1e6:.0f} MB")
        report(take_turns(file, folder, args))
    return None


if __name__ == "__main__":
    main()
