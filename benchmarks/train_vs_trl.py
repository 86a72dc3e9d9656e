"""Training speed of bradley and of TRL's RewardTrainer, in turns in one run, beside what the token counts promise.

    python benchmarks/train_vs_trl.py --data FILE [--seconds 240] [--shape 10M] [--json]

Both train the same model from the same weights on the same token ids, about as many judgments to a step. Each arm is a
process of its own, and one works at a time, for a few seconds in turn: bradley (the whole loop of the product; all
judgments of a prompt in one comparison), TRL in random order, and TRL in batches of similar length (every judgment a
pair), each at the micro-batch that is fastest for it. Seconds include reading data and logging, not the set-up,
in which each arm runs its largest micro-batch once: memory that a process asks for once is no part of a turn.
Promised is the number of tokens, padding included, that TRL ran per judgment, over bradley's: as drawn in the turns,
which the ratio is to be held against, and over the whole data, which a short run strays from. For pairs, TRL is also
given bradley's steps in bradley's order, and the loss curves are compared. matmul_share counts 6 x parameters without
embeddings x unique tokens, against the matrix product that is measured between the turns.

Needs `trl` and `datasets`.
"""

import argparse
import importlib.util
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from figures import Turn, compare, flops, largest_difference, table, total
from trial import SHAPES, Trial, every_judgment, set_up, write_pairs
from turns import Arm, ArmError, take_turns

from bradley.data.token_store import TokenStore
from bradley.errors import BradleyError

HERE = Path(__file__).parent
PEERS = ("default", "grouped")
LEAST_TURNS = 3
WARM_UP_JUDGMENTS = 16
CALIBRATION_JUDGMENTS = 32
CLEARLY_SLOWER = 0.85
"""Share of the best rate so far below which larger micro-batches, with more padding still, are not tried."""
ORDERED_MICRO_BATCH = 8
MEMORY_SHARE = 0.8
"""Of the free memory, how much a micro-batch is expected to need before it is not even tried."""


class Sizes(NamedTuple):
    """The micro-batch that is best for one arm, and judgments per second of each (None: not tried, or no room)."""

    best: int
    rates: dict[int, float | None]


class Measured(NamedTuple):
    """What was measured.

    Attributes:
        turns: of each arm.
        product: FLOP/s of the machine's matrix product.
        steps: the comparisons of bradley's first steps.
        epochs: tokens per judgment of each peer over the whole data.
    """

    turns: dict[str, list[Turn]]
    product: float
    steps: list[list[int]]
    epochs: dict[str, float]


class Curves(NamedTuple):
    """Losses of the same steps, and their largest difference; None with a reason where they cannot be compared."""

    difference: float | None
    reason: str = ""
    ours: Sequence[float] = ()
    theirs: Sequence[float] = ()


def start(trial: Trial, kind: str, *options: object) -> Arm:
    """The process of an arm: `bradley`, or one of TRL's."""
    script, words = ("arm_bradley.py", ()) if kind == "bradley" else ("arm_trl.py", (kind, *options))
    name = kind if kind == "bradley" else f"trl {kind}"
    command = [sys.executable, str(HERE / script), trial.folder, *map(str, words)]
    return Arm(name, command, trial.path("-".join(["errors", kind, *map(str, options)]) + ".txt"))


@contextmanager
def warmed(trial: Trial, kind: str, *options: object) -> Iterator[Arm]:
    """An arm that has done its first micro-batches."""
    with start(trial, kind, *options) as arm:
        arm.turn(judgments=WARM_UP_JUDGMENTS)
        yield arm


def calibrate(trial: Trial, kind: str, sizes: Sequence[int]) -> Sizes:
    """Time TRL on the same pairs at each size, small ones first, until one is clearly slower or finds no room.

    Raises:
        ArmError: TRL failed, or there is no room for the smallest size.
    """
    if len(sizes) == 1:
        return Sizes(sizes[0], {})
    rates: dict[int, float | None] = dict.fromkeys(sizes)
    largest = 0.0
    for size in sizes:
        if not fits(trial, largest * size):
            break
        try:
            with warmed(trial, kind, size) as arm:
                turn = arm.turn(judgments=CALIBRATION_JUDGMENTS)
        except ArmError as error:
            if not (largest and error.out_of_memory):
                raise
            break
        rates[size], largest = turn.judgments_per_second, turn.peak_gib / size
        found = max(rate for rate in rates.values() if rate is not None)
        talk(f"trl {kind}, micro-batches of {size}: {rates[size]:.2f} judgments/s, {turn.peak_gib:.1f} GiB")
        if turn.judgments_per_second < CLEARLY_SLOWER * found:
            break
    return Sizes(max(sizes, key=lambda size: rates[size] or 0.0), rates)


def fits(trial: Trial, gib: float) -> bool:
    """Whether the host has room for so much: where it has not, the system would end some process, whoever's it is. A
    GPU says so itself."""
    if trial.device == "cuda":
        return True
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) / 2**20
    return gib < MEMORY_SHARE * free


def measure(trial: Trial, sizes: dict[str, Sizes], seconds: float, loss_steps: int) -> Measured:
    """Let the arms take turns, and bradley so many steps at least."""
    with ExitStack() as stack:
        ours = stack.enter_context(warmed(trial, "bradley"))
        peers = {kind: stack.enter_context(warmed(trial, kind, found.best)) for kind, found in sizes.items()}
        turns, product = take_turns({"bradley": ours, **peers}, seconds, LEAST_TURNS)
        for _ in range(total(turns["bradley"]).units, loss_steps):
            ours.turn()
        steps = ours.ask(do="steps", count=loss_steps)["steps"]
        whole = {kind: arm.ask(do="epoch") for kind, arm in peers.items()}
    return Measured(turns, product, steps, {kind: row["tokens"] / row["judgments"] for kind, row in whole.items()})


def incomparable(store: TokenStore, steps: int) -> str:
    """Why the losses of the two sides are not the same numbers, or ''."""
    if not steps:
        return "--loss-steps 0"
    if int(np.diff(store.first_response).max()) > 2:
        return "more than two responses: TRL's steps cannot hold the same judgments"
    if set(np.unique(store.probability)) != {1.0} or set(np.unique(store.weight)) != {1.0}:
        return "ties, soft labels or weights, which TRL's loss does not know"
    return ""


def compare_losses(trial: Trial, store: TokenStore, steps: Sequence[Sequence[int]]) -> Curves:
    """The losses that bradley has logged for its first steps, beside those of TRL on the same comparisons."""
    ours = logged_losses(trial)[: len(steps)]
    chosen = np.concatenate(steps)
    write_pairs(store, every_judgment(store, chosen), trial.path("ordered"))
    size = math.gcd(trial.step_judgments, ORDERED_MICRO_BATCH)
    with start(trial, "ordered", size, len(ours)) as arm:
        arm.turn(judgments=len(chosen))
        theirs = arm.ask(do="losses")["losses"]
    return Curves(largest_difference(ours, theirs), "", ours, theirs)


def logged_losses(trial: Trial) -> list[float]:
    """The loss of each step that bradley's run has logged."""
    events = map(json.loads, trial.path("run").joinpath("metrics.jsonl").read_text().splitlines())
    return [event["train/rm/loss"] for event in events if event["kind"] == "train"]


def result(
    trial: Trial, store: TokenStore, sizes: dict[str, Sizes], measured: Measured, curves: Curves
) -> dict[str, Any]:
    """Everything that was found, ready for JSON."""
    turns, product = measured.turns, measured.product
    against = {kind: compare(turns["bradley"], turns[kind]) for kind in sizes}
    done = {name: total(rounds) for name, rounds in turns.items()}
    once = len(store.tokens) / len(store.better)
    rates = {name: flops(turn, trial.parameters) for name, turn in done.items()}
    return {
        **{f"ratio_{kind}": found.ratio for kind, found in against.items()},
        **{f"promised_{kind}": found.promised for kind, found in against.items()},
        **{f"efficiency_{kind}": found.efficiency for kind, found in against.items()},
        **{f"promised_epoch_{kind}": padded / once for kind, padded in measured.epochs.items()},
        "efficiency": min(found.efficiency for found in against.values()),
        "matmul_share": rates["bradley"] / product,
        "max_loss_difference": curves.difference,
        "loss": curves._asdict(),
        "rounds": {kind: found._asdict() for kind, found in against.items()},
        "arms": {
            name: {
                **turn._asdict(),
                "judgments_per_second": turn.judgments_per_second,
                "tokens_per_second": turn.tokens_per_second,
                "flops": rates[name],
                **({"micro_batch": sizes[name].best, "calibration": sizes[name].rates} if name in sizes else {}),
            }
            for name, turn in done.items()
        },
        "matmul_flops": product,
        "machine": {"cpus": os.cpu_count(), **{name: version(name) for name in ("torch", "transformers", "trl")}},
        "comparisons": len(store),
        "dropped": store.ledger.to_json(),
        "turns": len(turns["bradley"]),
        "trial": {name: value for name, value in vars(trial).items() if name != "folder"},
    }


def talk(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a preference file of any format that bradley reads")
    parser.add_argument("--seconds", type=float, default=240.0, help="of the turns, all arms together")
    parser.add_argument("--json", action="store_true", help="print one object instead of the table")
    parser.add_argument("--shape", choices=list(SHAPES), default="10M")
    parser.add_argument(
        "--config", type=json.loads, default={}, help="JSON settings of the model, over those of --shape"
    )
    parser.add_argument("--max-tokens", type=int, default=0, help="0: 1024 for pairs, 2048 for more responses")
    parser.add_argument("--judgments", type=int, default=16, help="about how many make a step")
    parser.add_argument("--micro-batches", default="1,2,4,8,16", help="sizes to try for TRL, in pairs")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--threads", type=int, default=0, help="of the CPU, for every arm (0: PyTorch's own choice)")
    parser.add_argument("--loss-steps", type=int, default=8, help="steps whose losses are compared (0: none)")
    parser.add_argument("--lr", type=float, default=1e-5)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def run(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Set up, find TRL's best micro-batches, take turns, compare losses."""
    trial, store = set_up(
        args.data,
        folder,
        {**SHAPES[args.shape], **args.config},
        args.max_tokens,
        args.judgments,
        device=args.device,
        precision=args.precision,
        threads=args.threads,
        lr=args.lr,
        seed=args.seed,
    )
    write_pairs(store, every_judgment(store, np.arange(len(store))), trial.path("pairs"))
    talk(f"{len(store)} comparisons, {trial.batch_size} to a step; {trial.parameters / 1e6:.1f}M parameters")
    given = sorted(map(int, args.micro_batches.split(",")))
    candidates = [size for size in given if size <= trial.step_judgments] or [trial.step_judgments]
    sizes = {kind: calibrate(trial, kind, candidates) for kind in PEERS}
    reason = incomparable(store, args.loss_steps)
    measured = measure(trial, sizes, args.seconds, 0 if reason else args.loss_steps)
    curves = Curves(None, reason) if reason else compare_losses(trial, store, measured.steps)
    return result(trial, store, sizes, measured, curves)


def main() -> None:
    """Measure, and print what was found."""
    args = arguments()
    if missing := [name for name in ("trl", "datasets") if importlib.util.find_spec(name) is None]:
        raise SystemExit(f"{' and '.join(missing)} not found: pip install -c constraints.txt trl datasets")
    with tempfile.TemporaryDirectory(prefix="bradley-trial-") as folder:
        try:
            found = run(args, Path(folder))
        except BradleyError as error:
            raise SystemExit(f"error: {error.message}\nhint: {error.hint}") from None
        except ArmError as error:
            raise SystemExit(f"error: {error}") from None
    print(json.dumps(found) if args.json else table(found))


if __name__ == "__main__":
    main()
