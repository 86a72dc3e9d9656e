"""Figures as lines on stderr, for programs that read them from a log. They come whatever `--quiet` says of talk."""

import json
import re
import sys
from typing import Any

from ..metrics import Event

PREFIX = "RM_DIAG"
SUMMARY: dict[str, str] = {
    "loss": "loss",
    "accuracy": "accuracy",
    "margin": "reward_margin",
    "ece": "ece",
    "auroc": "auroc",
}
GROUPS: dict[str, dict[str, str]] = {
    "delta_stats": {
        "mean": "reward_margin",
        "std": "reward_margin_std",
        "p05": "reward_margin_p05",
        "p50": "reward_margin_p50",
        "p95": "reward_margin_p95",
        "neg_rate": "negative_share",
    },
    "reward_stats": {
        "chosen_mean": "chosen_rewards",
        "chosen_std": "chosen_rewards_std",
        "rejected_mean": "rejected_rewards",
        "rejected_std": "rejected_rewards_std",
        "abs_max": "max_abs_score",
    },
    "length_stats": {
        "reward_len_corr": "length_correlation",
        "delta_len_diff_corr": "margin_length_correlation",
        "len_diff_mean": "length_difference",
        "len_diff_std": "length_difference_std",
    },
}
"""What stands in a `RM_DIAG` line, and the name of the figure in the event."""


class RmDiag:
    """One line `RM_DIAG {...}` per evaluated set: `step`, `split`, the figures of `SUMMARY` and of `GROUPS`, and
    `calibration_bins`; null where a figure cannot be computed."""

    def event(self, event: Event) -> None:
        """Print the line of an evaluation."""
        if event["kind"] == "eval":
            _print(f"{PREFIX} {json.dumps(diagnosis(event))}")

    def sync(self) -> None:
        """A log goes on where it is."""

    def close(self) -> None:
        """Nothing to close."""


def diagnosis(event: Event) -> dict[str, Any]:
    """The content of a `RM_DIAG` line."""

    def named(names: dict[str, str]) -> dict[str, Any]:
        return {name: event[f"eval/{event['set']}/rm/{key}"] for name, key in names.items()}

    return {
        "step": event["step"],
        "split": event["set"],
        **named(SUMMARY),
        **{group: named(names) for group, names in GROUPS.items()},
        **named({"calibration_bins": "calibration_bins"}),
    }


class KeyValue:
    """One line `step=10 episode=80 train_loss=0.69 ...` per train line and per evaluated set: numbers alone.

    A name is the key of the event without its `rm`, in the letters a-z, digits and underscores: `train/rm/loss` is
    `train_loss`, `eval/valid/rm/accuracy` is `eval_valid_accuracy`. `METRIC_DEFINITIONS` reads the lines.
    """

    def event(self, event: Event) -> None:
        """Print the line of a train line or an evaluation."""
        if event["kind"] in ("train", "eval"):
            values = {plain_name(key): value for key, value in event.items() if is_number(value)}
            _print(" ".join(f"{name}={value!r}" for name, value in values.items()))

    def sync(self) -> None:
        """A log goes on where it is."""

    def close(self) -> None:
        """Nothing to close."""


def plain_name(key: str) -> str:
    """A key of an event as a name of [a-z0-9_]."""
    return re.sub("[^a-z0-9]+", "_", key.lower().replace("/rm/", "/")).strip("_")


def is_number(value: Any) -> bool:
    """Whether a value of an event is one that a tracker of numbers takes."""
    return isinstance(value, int | float) and not isinstance(value, bool)


NUMBER = "([-+]?[0-9][-+.0-9e]*)"
OF_TRAINING = ("loss", "nll", "accuracy", "chosen_rewards", "rejected_rewards", "reward_margin", "mean_probability")
OF_EVALUATION = (*OF_TRAINING, "auroc", "ece")
DEFINED = (
    "step",
    "episode",
    "epoch",
    "train_lr",
    "train_grad_norm",
    *(f"train_{name}" for name in OF_TRAINING),
    *(f"train_window_{name}" for name in OF_TRAINING),
    *(f"eval_valid_{name}" for name in OF_EVALUATION),
    *(f"eval_train_probe_{name}" for name in OF_EVALUATION),
)
METRIC_DEFINITIONS: list[dict[str, str]] = [
    {"Name": name, "Regex": rf"(?:^|\s){name}={NUMBER}(?:\s|$)"} for name in DEFINED
]
"""The metrics of a key_value log as clusters such as SageMaker want them: a name, and a regular expression whose one
group is the number. SageMaker takes 40 of them at most."""


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
