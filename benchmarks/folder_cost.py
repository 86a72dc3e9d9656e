"""Seconds to load, save and start from a model folder, of two checkouts in turns.

python benchmarks/folder_cost.py BEFORE AFTER [--megabytes 500] [--rounds 10] [--output DIR]

Each checkout writes a folder of its own with the same drawn weights: a folder of newer code may not load in older code,
and a folder of older code has fewer hashes to check. In every round each checkout then loads its folder as `score`
does, saves the model again, and starts a run on the folder (tokenizer, network, and the hash of the weights for the
identity of the run), each in a process of its own, with the imports outside of the clock. The last lines are the
medians and their ratios.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KINDS = ("load", "save", "start")
HIDDEN, LAYERS, WORDS = 1024, 8, 400
"""Width and depth of the network; the vocabulary grows with the size of the folder."""


def write(folder: Path, megabytes: int) -> None:
    """Write a model folder of about so many megabytes."""
    import torch

    from bradley.config import Model, Render
    from bradley.data.render import Renderer
    from bradley.data.tokenizer import train_tokenizer
    from bradley.model.build import build_model
    from bradley.model.folder.save_load import save_model

    tokenizer = train_tokenizer([f"{n} words and more words {n * n}" for n in range(WORDS)], WORDS)
    layer = 4 * HIDDEN**2 + 3 * HIDDEN * 4 * HIDDEN
    rows = max(WORDS, (megabytes * 10**6 // 4 - LAYERS * layer) // HIDDEN)
    config = {
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": 4 * HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 16,
        "vocab_size": rows,
    }
    built = build_model(Model(config=config, tokenizer="train"), tokenizer, 0, torch.device("cpu"))
    save_model(folder, built.model, Renderer(tokenizer, Render(max_tokens=64), causal=True), {})


def measure(kind: str, folder: Path) -> float:
    """Seconds of one operation in this process."""
    import torch
    from transformers import AutoModelForSequenceClassification, LlamaForSequenceClassification  # noqa: F401

    from bradley.config import Model
    from bradley.data.tokenizer import load_tokenizer
    from bradley.model.build import build_model
    from bradley.model.folder.save_load import load_model, save_model
    from bradley.model.weight_files import weights_hash

    if kind == "load":
        began = time.perf_counter()
        load_model(folder)
        return time.perf_counter() - began
    if kind == "save":
        loaded = load_model(folder)
        began = time.perf_counter()
        save_model(folder.parent / "again", loaded.model, loaded.renderer, {})
        seconds = time.perf_counter() - began
        shutil.rmtree(folder.parent / "again")
        return seconds
    began = time.perf_counter()
    tokenizer = load_tokenizer(str(folder))
    build_model(Model(path=str(folder)), tokenizer, 0, torch.device("cpu"))
    weights_hash(str(folder))
    return time.perf_counter() - began


def run(tree: Path, *arguments: str) -> str:
    """Run this script with the sources of a checkout, and return the last line."""
    environment = {**os.environ, "PYTHONPATH": str(tree.resolve() / "src")}
    command = [sys.executable, __file__, "--child", *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return (done.stdout.splitlines() or [""])[-1]


def compare(before: Path, after: Path, megabytes: int, rounds: int, place: Path) -> None:
    """Measure both checkouts in turns, and print medians and ratios."""
    folders = {before: place / "before" / "model", after: place / "after" / "model"}
    for tree, folder in folders.items():
        folder.parent.mkdir(parents=True)
        run(tree, "write", str(folder), str(megabytes))
    size = sum(path.stat().st_size for path in folders[after].iterdir()) / 1e6
    seconds: dict[tuple[str, Path], list[float]] = {(kind, tree): [] for kind in KINDS for tree in (before, after)}
    for number in range(rounds):
        # The first one of a round changes, so that neither always follows the other.
        for tree in (before, after) if number % 2 == 0 else (after, before):
            for kind in KINDS:
                seconds[kind, tree].append(float(run(tree, kind, str(folders[tree]))))
    print(f"folder of {size:.0f} MB, median of {rounds}")
    for kind in KINDS:
        old, new = (statistics.median(seconds[kind, tree]) for tree in (before, after))
        print(f"{kind:<6} before {old:7.3f} s   after {new:7.3f} s   ratio {new / old:.3f}")


def main() -> None:
    """Compare two checkouts, or be one measurement."""
    if sys.argv[1:2] == ["--child"]:
        kind, folder = sys.argv[2], Path(sys.argv[3])
        print(write(folder, int(sys.argv[4])) if kind == "write" else measure(kind, folder))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    place = given.output or Path(tempfile.mkdtemp(prefix="bradley-folder-"))
    try:
        compare(given.before, given.after, given.megabytes, given.rounds, place)
    finally:
        if given.output is None:
            shutil.rmtree(place)


if __name__ == "__main__":
    main()
