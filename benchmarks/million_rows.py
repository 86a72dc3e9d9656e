"""Peak memory of loading and tokenising many preference pairs, in a process of its own.

    python benchmarks/million_rows.py [--rows 1000000] [--words 60]

Writes a file of random pairs, loads it and builds the token store, and prints seconds, the size of the file and of the
tokens, and the peak resident memory (its share of mapped files included, which the system may take back at any time).
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WORDS = [f"{a}{b}" for a in ("ri", "sto", "bir", "tre", "wa", "lo") for b in ("ver", "ne", "ds", "es", "ter", "ok")]


def write_rows(path: Path, rows: int, words: int) -> None:
    """Pairs with prompts of about `words` words and responses of half as many."""
    rng = np.random.default_rng(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            lengths = (words, words // 2, words // 2)
            prompt, chosen, rejected = (" ".join(rng.choice(WORDS, n)) for n in lengths)
            row = {"prompt": f"{number} {prompt}", "chosen": chosen, "rejected": rejected, "id": f"row-{number}"}
            file.write(json.dumps(row) + "\n")


def build(path: Path) -> dict[str, float]:
    """Load and tokenise; what it cost."""
    from bradley.config import Data, Render
    from bradley.data.load import load_splits
    from bradley.data.render import Renderer
    from bradley.data.token_store import build_store
    from bradley.data.tokenizer import train_tokenizer

    renderer = Renderer(train_tokenizer([" ".join(WORDS)], 400), Render(max_tokens=1024), causal=True)
    before = peak_mib()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        splits = load_splits(Data(train=str(path), valid_share=0.01), 0, cache=Path(cache))
        loaded = time.perf_counter() - began
        store = build_store(splits.train, renderer, training=True, cache=Path(cache))
        seconds = time.perf_counter() - began
    return {
        "rows": len(splits.train) + len(splits.evals["valid"]),
        "file_mib": path.stat().st_size / 2**20,
        "tokens": len(store.tokens),
        "seconds_loading": loaded,
        "seconds": seconds,
        "peak_mib_before": before,
        "peak_mib": peak_mib(),
    }


def peak_mib() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    """Write the file here, measure in a child."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--words", type=int, default=60)
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.build:
        print(json.dumps(build(args.build)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.jsonl"
        write_rows(path, args.rows, args.words)
        subprocess.run([sys.executable, __file__, "--build", str(path)], check=True)


if __name__ == "__main__":
    main()
