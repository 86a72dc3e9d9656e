"""Training and scoring of two checkouts in turns: judgments per second, responses per second, tokens per judgment.

    python benchmarks/before_after.py BEFORE AFTER [--rounds 12] [--score-shape 3M] [--score-rows 8]
    python benchmarks/before_after.py BEFORE AFTER --data FILE [--data FILE] [--shape 10M] [--only training]

Each checkout has the whole set-up of its own: tokenizer, model folder, token store. Both work in processes of their
own, one at a time and in turns; a round is a turn of each, and the ratio is the median over the rounds.

Training is compared for each file of `--data`, as in `train_vs_trl.py`. The tokens of a judgment are counted where
`over_long = "truncate_response"` cuts about a third of the comparisons. Scoring asks `score_comparisons` for K
responses of random words to a prompt, with drawn weights that are the same on both sides: the largest difference of
the scores is printed too.

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

from turns import Arm, Gate

TURN_SECONDS = 4.0
WARM_UP_JUDGMENTS = 64
RESPONSES = (1, 4, 16)
SCORED_TOKENS = 1024
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


def score(folder: str, shape: str, rows: str) -> None:
    """Make a model, and score K responses to a prompt in each turn, until the parent has seen enough.

    The answer to `score` with `count`, the K, has the seconds from texts to scores, and the scores.
    """
    from score_throughput import score_comparisons, synthetic
    from trial import SHAPES, make_model

    from bradley.model.folder.save_load import load_model

    gate = Gate("cpu")
    given = {count: synthetic(int(rows), count) for count in RESPONSES}
    make_model(given[max(RESPONSES)], SHAPES[shape], SCORED_TOKENS, 0, Path(folder) / "model")
    model = load_model(Path(folder) / "model")

    def answer(message: dict[str, Any]) -> dict[str, Any]:
        began = time.perf_counter()
        found = score_comparisons(model, given[message["count"]])
        return {"seconds": time.perf_counter() - began, "scores": [score for row in found for score in row.scores]}

    gate.answers["score"] = answer
    gate.passed()


def child(tree: Path, kind: str, *words: str) -> list[str]:
    """Return the command of a part of this script with the sources of a checkout."""
    paths = os.pathsep.join([str(tree / "src"), str(tree / "benchmarks")])
    return ["env", f"PYTHONPATH={paths}", sys.executable, __file__, "--child", str(tree), kind, *words]


def check_sources(tree: Path) -> None:
    """Stop if the sources are not those of a checkout: the same code would be compared with itself."""
    import trial

    import bradley

    for module in (bradley, trial):
        if not Path(str(module.__file__)).resolve().is_relative_to(tree):
            raise SystemExit(f"{module.__name__} comes from {module.__file__}, and not from {tree}")


def run(tree: Path, kind: str, *words: str) -> dict[str, Any]:
    """Run a part of this script with the sources of a checkout, and return the answer."""
    done = subprocess.run(child(tree, kind, *words), stdout=subprocess.PIPE, text=True, check=True)
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
            for side in sides(number):
                rates[side].append(arms[side].turn(seconds=TURN_SECONDS).judgments_per_second)
    show(f"{file}: judgments/s", rates)
    limit = str(made[0]["limit"])
    found = [run(tree, "count_tokens", file, str(folder), limit) for tree, folder in zip(trees, folders, strict=True)]
    before, after = (each["tokens"] for each in found)
    cuts = " and ".join(f"{each['cut']:.0%}" for each in found)
    print(f"{file}: tokens/judgment, {cuts} cut at {limit}: {before:.1f} and {after:.1f}, ratio {after / before:.3f}")


def compare_scoring(trees: list[Path], shape: str, rows: int, rounds: int, place: Path) -> None:
    """Print the rates of scoring for each K, and the largest difference of the scores."""
    folders = [place / f"scoring-{number}" for number in range(len(trees))]
    rates: dict[int, list[list[float]]] = {count: [[] for _ in trees] for count in RESPONSES}
    scores: dict[int, list[list[float]]] = {count: [[] for _ in trees] for count in RESPONSES}
    with ExitStack() as stack:
        arms = []
        for tree, folder in zip(trees, folders, strict=True):
            folder.mkdir()
            command = child(tree, "score", str(folder), shape, str(rows))
            arms.append(stack.enter_context(Arm(str(tree), command, folder / "errors.txt")))
        for count in RESPONSES:
            # The first answer warms up, and says when the model is made.
            scores[count] = [arm.ask(do="score", count=count)["scores"] for arm in arms]
        for number in range(rounds):
            for count in RESPONSES:
                for side in sides(number):
                    seconds = arms[side].ask(do="score", count=count)["seconds"]
                    rates[count][side].append(rows * count / seconds)
    for count in RESPONSES:
        show(f"scoring, K = {count}: responses/s", rates[count])
        before, after = scores[count]
        apart, largest = max(abs(a - b) for a, b in zip(before, after, strict=True)), max(map(abs, before))
        print(f"scoring, K = {count}: largest difference {apart:.1e} of scores up to {largest:.1f}", flush=True)


def sides(number: int) -> tuple[int, int]:
    """Return the order of both checkouts in a round: the first changes, so that neither always follows the other."""
    return (0, 1) if number % 2 == 0 else (1, 0)


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
        tree, kind, *words = sys.argv[2:]
        check_sources(Path(tree))
        if kind == "score":
            score(*words)
        else:
            print(json.dumps({"set_up": set_up, "count_tokens": count_tokens}[kind](*words)))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--data", action="append", default=[], help="a preference file; may be given several times")
    parser.add_argument("--shape", default="10M", help="a name of `trial.SHAPES`, for training")
    parser.add_argument("--score-shape", default="3M", help="the same for scoring")
    parser.add_argument("--score-rows", type=int, default=8, help="prompts in a turn of scoring")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--only", choices=["training", "scoring"], help="leave the other part out")
    given = parser.parse_args()
    trees = [given.before.resolve(), given.after.resolve()]
    with tempfile.TemporaryDirectory(prefix="bradley-before-after-") as place:
        for file in given.data if given.only != "scoring" else []:
            compare_training(str(Path(file).resolve()), trees, given.shape, given.rounds, Path(place))
        if given.only != "training":
            compare_scoring(trees, given.score_shape, given.score_rows, given.rounds, Path(place))


if __name__ == "__main__":
    main()
