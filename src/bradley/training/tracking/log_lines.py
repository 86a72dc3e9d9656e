"""Print figures as lines on stderr, for programs reading a log. `--quiet` does not silence these lines."""

import json
import re
import sys
from typing import Any

from ..metrics import Event

PREFIX = "RM_DIAG"
"""First word of a diagnosis line."""
SUMMARY: dict[str, str] = {
    "loss": "loss",
    "accuracy": "accuracy",
    "margin": "reward_margin",
    "ece": "ece",
    "auroc": "auroc",
}
"""Entries of a `RM_DIAG` line at the top level, and the name of each figure in the event."""
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
"""Nested entries of a `RM_DIAG` line by group, and the name of each figure in the event."""


class RmDiag:
    """Tracker `rm_diag`: a line `RM_DIAG {...}` per evaluated set.

    The JSON object holds `step`, `split`, the figures of `SUMMARY` and `GROUPS`, and `calibration_bins`. Figures
    without a value are null.
    """

    def event(self, event: Event) -> None:
        """Print the line of an evaluation."""
        if event["kind"] == "eval":
            _print(f"{PREFIX} {json.dumps(diagnosis(event))}")

    def sync(self) -> None:
        """Do nothing: a log has no position."""

    def close(self) -> None:
        """Do nothing."""


def diagnosis(event: Event) -> dict[str, Any]:
    """Return the content of a `RM_DIAG` line.

    Args:
        event: of kind `eval`.
    """

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
    """Tracker `key_value`: a line `step=10 episode=80 train_loss=0.69 ...` per train line and per evaluated set, with
    numbers only.

    A name is the event's key without `rm`, in the letters a-z, digits and underscores. For example, `train/rm/loss`
    becomes `train_loss`, and `eval/valid/rm/accuracy` becomes `eval_valid_accuracy`. `METRIC_DEFINITIONS` reads the
    lines.
    """

    def event(self, event: Event) -> None:
        """Print the line of a train line or an evaluation."""
        if event["kind"] in ("train", "eval"):
            values = {plain_name(key): value for key, value in event.items() if is_number(value)}
            _print(" ".join(f"{name}={value!r}" for name, value in values.items()))

    def sync(self) -> None:
        """Do nothing: a log has no position."""

    def close(self) -> None:
        """Do nothing."""


def plain_name(key: str) -> str:
    """Return an event's key as a name of [a-z0-9_]."""
    return re.sub("[^a-z0-9]+", "_", key.lower().replace("/rm/", "/")).strip("_")


def is_number(value: Any) -> bool:
    """Return True if an event's value is a number for trackers; booleans are not numbers."""
    return isinstance(value, int | float) and not isinstance(value, bool)


NUMBER = "([-+]?[0-9][-+.0-9e]*)"
"""Regular expression for a number in Python's notation."""
OF_TRAINING = ("loss", "nll", "accuracy", "chosen_rewards", "rejected_rewards", "reward_margin", "mean_probability")
"""Figures of training with a metric definition."""
OF_EVALUATION = (*OF_TRAINING, "auroc", "ece")
"""Figures of evaluation with a metric definition."""
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
"""Names of the metric definitions."""
# Space or line end on both sides: otherwise `train_loss` would also match inside another name.
METRIC_DEFINITIONS: list[dict[str, str]] = [
    {"Name": name, "Regex": rf"(?:^|\s){name}={NUMBER}(?:\s|$)"} for name in DEFINED
]
"""Metrics of a `key_value` log in the form of clusters such as SageMaker: a name, and a regular expression whose group
is the number. SageMaker takes at most 40 definitions."""


def _print(line: str) -> None:
    # Readers follow the log while the run is under way; an unflushed line would reach them late, or never after a
    # crash.
    print(line, file=sys.stderr, flush=True)
