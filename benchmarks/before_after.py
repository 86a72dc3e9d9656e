"""Training and scoring of two checkouts in turns: judgments per second, responses per second, tokens per judgment.

    python benchmarks/before_after.py BEFORE AFTER --data FILE [--data FILE] [--shape 10M] [--rounds 12]

Each checkout has the whole set-up of its own: tokenizer, model folder, token store. For each file, both train in
processes of their own, one at a time and in turns, as in `train_vs_trl.py`; a round is a turn of each, and the ratio is
the median over the rounds. Scoring asks `bradley.score_comparisons` for K responses of random words, in turns too. The
tokens of a judgment are counted where `over_long = "truncate_response"` cuts about a third of the comparisons.

Ratios are of AFTER to BEFORE: above 1 is faster, or more tokens.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from turns import Arm

TURN_SECONDS = 4.0
WARM_UP_JUDGMENTS = 64
RESPONSES = (1, 4, 16)
PROMPTS = 48
REPEATS = 3
CUT_SHARE = 1 / 3


def set_up(file: str, folder: str, shape: str) -> dict[str, Any]:
    """Make tokenizer, model and token store for training on a file."""
    from trial import SHAPES
    from trial import set_up as make

    settings: dict[str, Any] = {"device": "cpu", "precision": "float32", "threads": 0, "lr": 1e-5, "seed": 0}
    _, store = make(file, Path(folder), SHAPES[shape], 0, 16, **settings)
    lengths = sorted(int(max(each)) for each in _by_comparison(store))
    return {"limit": lengths[int(len(lengths) * (1 - CUT_SHARE))]}


def count_tokens(file: str, folder: str, limit: str) -> dict[str, Any]:
    """Count the tokens of a judgment where the limit cuts responses."""
    from trial import data_settings

    from bradley.config import Render
    from bradley.data.load import load_splits
    from bradley.data.render import Renderer
    from bradley.data.token_store import build_store
    from bradley.data.tokenizer import load_tokenizer

    render = Render(max_tokens=int(limit), over_long="truncate_response")
    renderer = Renderer(load_tokenizer(f"{folder}/model"), render, causal=True)
    store = build_store(load_splits(data_settings(file), 0).train, renderer, training=True)
    cut = statistics.mean(any(each) for each in _by_comparison(store, "truncated"))
    return {"cut": float(cut), "tokens": len(store.tokens) / len(store.better)}


def _by_comparison(store: Any, name: str = "") -> list[Any]:
    """Divide the lengths, or a column of the responses, by comparison."""
    values = getattr(store, name) if name else store.full_lengths()
    return [values[a:b] for a, b in zip(store.first_response[:-1], store.first_response[1:], strict=True)]


def score(folder: str) -> dict[str, Any]:
    """Time the scoring of K responses to a prompt: the fastest of a few repeats, in responses per second."""
    from score_throughput import synthetic

    import bradley
    from bradley.model.folder.save_load import load_model

    model, rates = load_model(Path(folder) / "model"), {}
    for count in RESPONSES:
        rows = synthetic(PROMPTS, count)
        bradley.score_comparisons(model, rows)
        seconds = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            bradley.score_comparisons(model, rows)
            seconds.append(time.perf_counter() - began)
        rates[str(count)] = PROMPTS * count / min(seconds)
    return rates


def run(tree: Path, kind: str, *words: str) -> dict[str, Any]:
    """Run a part of this script with the sources of a checkout, and return the answer."""
    paths = [str(tree / "src"), str(tree / "benchmarks")]
    command = [sys.executable, __file__, "--child", kind, *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def trainer(tree: Path, folder: Path) -> Arm:
    """Start the training of a checkout, which waits for turns."""
    variable = f"PYTHONPATH={tree / 'src'}"
    command = ["env", variable, sys.executable, str(tree / "benchmarks" / "arm_bradley.py"), str(folder)]
    return Arm(str(tree), command, folder / "errors.txt")


def compare_training(file: str, trees: list[Path], shape: str, rounds: int, place: Path) -> None:
    """Print the rates of training on a file, and the tokens of a judgment."""
    folders = [place / f"{Path(file).parent.name}-{number}" for number in range(len(trees))]
    for folder in folders:
        folder.mkdir()
    made = [run(tree, "set_up", file, str(folder), shape) for tree, folder in zip(trees, folders, strict=True)]
    rates: list[list[float]] = [[] for _ in trees]
    with ExitStack() as stack:
        arms = [stack.enter_context(trainer(tree, folder)) for tree, folder in zip(trees, folders, strict=True)]
        for arm in arms:
            arm.turn(judgments=WARM_UP_JUDGMENTS)
        for number in range(rounds):
            # The first of a round changes, so that neither always follows the other.
            for place_ in (0, 1) if number % 2 == 0 else (1, 0):
                rates[place_].append(arms[place_].turn(seconds=TURN_SECONDS).judgments_per_second)
    show(f"{file}: judgments/s", rates)
    limit = str(made[0]["limit"])
    found = [run(tree, "count_tokens", file, str(folder), limit) for tree, folder in zip(trees, folders, strict=True)]
    before, after = (each["tokens"] for each in found)
    cuts = " and ".join(f"{each['cut']:.0%}" for each in found)
    print(f"{file}: tokens/judgment, {cuts} cut at {limit}: {before:.1f} and {after:.1f}, ratio {after / before:.3f}")


def show(what: str, rates: list[list[float]]) -> None:
    """Print medians, and the median of the ratios of the rounds with the smallest and the largest."""
    ratios = sorted(after / before for before, after in zip(*rates, strict=True))
    before, after = map(statistics.median, rates)
    ratio = statistics.median(ratios)
    print(f"{what}: {before:.2f} and {after:.2f}, ratio {ratio:.3f} ({ratios[0]:.2f} to {ratios[-1]:.2f})", flush=True)


def main() -> None:
    """Compare two checkouts, or be a part of one."""
    if sys.argv[1:2] == ["--child"]:
        # The folder of this script comes first, and holds the benchmarks of one checkout alone.
        sys.path.remove(str(Path(__file__).parent))
        kind, *words = sys.argv[2:]
        print(json.dumps({"set_up": set_up, "count_tokens": count_tokens, "score": score}[kind](*words)))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--data", action="append", required=True, help="a preference file; may be given several times")
    parser.add_argument("--shape", default="10M", help="a name of `trial.SHAPES`")
    parser.add_argument("--rounds", type=int, default=12)
    given = parser.parse_args()
    trees = [given.before.resolve(), given.after.resolve()]
    with tempfile.TemporaryDirectory(prefix="bradley-before-after-") as place:
        for file in given.data:
            compare_training(str(Path(file).resolve()), trees, given.shape, given.rounds, Path(place))
        folders = [sorted(Path(place).glob(f"*-{number}"))[0] for number in range(len(trees))]
        scored: list[list[dict[str, Any]]] = [[] for _ in trees]
        for number in range(given.rounds // 2):
            for one in (0, 1) if number % 2 == 0 else (1, 0):
                scored[one].append(run(trees[one], "score", str(folders[one])))
        for count in map(str, RESPONSES):
            show(f"scoring, K = {count}: responses/s", [[found[count] for found in each] for each in scored])


if __name__ == "__main__":
    main()
