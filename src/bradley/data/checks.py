"""Checks of data during loading: sources, lost rows, leaks, empty splits. Each hint names the setting to change."""

import math
from collections.abc import Collection, Mapping, Sequence

from ..common.text import nearest, quoted
from ..config import SYNTHETIC, Data, Words, as_list
from ..errors import DataError, UserError
from .filters import CHECKS
from .formats import REASONS
from .formats.base import FUNCTION
from .report import SplitReport
from .sources import resolve

KEPT_BY = {
    "score_ratio": "lower --data.min_score_ratio",
    "left_out": "let the function of data.format return a row for each row to keep",
}
"""Reason -> step that keeps such rows."""


def check_sources(name: str, sources: Words) -> list[str]:
    """Return the names of the sources of a split, as spelled and as resolved, before the first row is read.

    Raises:
        DataError, UserError: a source is missing or misplaced.
    """
    if SYNTHETIC not in as_list(sources):
        return [name for source in resolve(sources) for name in (source.given, source.name)]
    if name != "train":
        hint = "leave it empty, and a share of the synthetic prompts is split off" if name in ("valid", "test") else ""
        raise UserError(f"{SYNTHETIC} is given for {name}, and only data.train can be composed", hint or "name a file")
    if len(as_list(sources)) > 1:
        raise UserError(f"{SYNTHETIC} is given together with other sources of data.train", "give one or the other")
    return [SYNTHETIC]


def check_of_sources(data: Data, known: Collection[str]) -> None:
    """Raise `UserError` for a format or columns of a source that is not read; `known` are splits and sources."""
    for setting, name in data.of_sources():
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near}?" if near else "name a source as spelled, or a split such as valid"
            raise UserError(f"{setting} names {quoted(name)}, which is no split and no source", hint)


def check_training(data: Data, given: Collection[str], wanted: Mapping[str, Words]) -> None:
    """Raise `UserError` for evaluation data without training data: the default would train on other, synthetic rows.

    Args:
        data: settings; `train` counts if named.
        given: splits in memory.
        wanted: sources of every split.
    """
    others = [name for name, sources in wanted.items() if name != "train" and (name in given or as_list(sources))]
    if others and "train" not in given and "train" not in data.model_fields_set:
        raise UserError(
            f"no training data: {', '.join(others)} is given, and train is not",
            f'give train rows, or name a source as data.train, such as "train.jsonl" or "{SYNTHETIC}"',
        )


def check_test(test: SplitReport, others: Sequence[str]) -> None:
    """Raise `DataError` if the test split repeats prompts of the other evaluation sets."""
    found = test.findings["leaked"]
    if found["count"]:
        message = f"{found['count']} test comparisons have a prompt that is also in {' or '.join(others)}"
        raise DataError(
            f"{message}, such as {found['examples'][0]}",
            "take them out of one of the files, or use --data.leaked keep; evaluation rows are never dropped",
        )


def check_share(name: str, report: SplitReport, most: float) -> None:
    """Raise `DataError` if a split lost more rows than the settings allow."""
    lost = report.unusable()
    count = sum(lost.values())
    if count <= most * report.rows:
        return
    reasons = ", ".join(f"{reason} {number}" for reason, number in lost.items())
    examples = [entry["examples"][0] for reason, entry in report.rejected.items() if reason in lost]
    where = f"; such as {examples[0]['file']}, row {examples[0]['row']}: {examples[0]['detail']}" if examples else ""
    # Rounded up: the share in the hint must let these data pass.
    needed = math.ceil(100 * count / report.rows) / 100
    # A policy that the user names is the user's own, and does not count.
    own = [f"--data.{check} drop leaves {number} out on purpose" for check, number in lost.items() if check in CHECKS]
    share = [f"use --data.max_rejected_share {needed}"] if needed < 1 else []
    raise DataError(
        f"{count} of {report.rows} rows of {name} cannot be used ({reasons}), the limit is {most:.0%}{where}",
        ", or ".join(["correct the data", *own, *share]),
    )


def check_filled(name: str, report: SplitReport, left: int, shared: int) -> None:
    """Raise `DataError` for an empty split, with the reasons.

    Args:
        name: of the split.
        report: of the split.
        left: number of remaining comparisons.
        shared: number of prompts that a split by share divided; 0 without such a split.
    """
    if left:
        return
    if shared == 1:
        raise DataError(
            f"{name} is empty: the training data have a single prompt, and a split by share divides prompts",
            "name the column of the prompts with --data.columns.prompt, name a file with --data.valid, or hold out "
            "nothing with --data.valid_share 0",
        )
    if report.split_from:
        raise DataError(
            f"{name} is empty: its share holds none of the prompts of {report.split_from}",
            f"raise --data.{name}_share, or name a file with --data.{name}",
        )
    given = " and ".join(f"{count} for {name}" for name, count in report.split_off.items())
    taken = f", of which were split off {given}" if given else ""
    dropped = {check: finding["dropped"] for check, finding in report.findings.items() if finding["dropped"]}
    found = {reason: entry["count"] for reason, entry in report.rejected.items()} | dropped
    # Every pair of the file may be labelled both ways as often.
    tied = report.gathered.get("tied", 0)
    told = [f"{reason} {count}" for reason, count in found.items()] + (
        [f"pairs with equal votes {tied}"] if tied else []
    )
    reasons = f" ({', '.join(told)})" if told else ""
    examples = [example for entry in report.rejected.values() for example in entry["examples"][:1]]
    such = f"; such as {examples[0]['file']}, row {examples[0]['row']}: {examples[0]['detail']}" if examples else ""
    message = f"{name} is empty: {report.rows} rows{taken}, none is left{reasons}{such}"
    if tied > max(found.values(), default=0):
        raise DataError(
            message, "keep ties with --data.equal_scores tie, or read each row alone with --data.judges apart"
        )
    raise DataError(message, _filling_hint(name, found, report.ties()))


def _filling_hint(name: str, found: Mapping[str, int], ties: bool) -> str:
    """Return the next step for an empty split: the setting that keeps most of the rows left out, or more data."""
    most = max(found, key=lambda reason: found[reason], default="")
    if most == "no_judgment":
        return f"{'keep ties with --data.equal_scores tie, or ' if ties else ''}give rows with a preference"
    if most in CHECKS:
        return f"keep such rows with --data.{most} keep, or give more data"
    if most in KEPT_BY:
        return KEPT_BY[most]
    if most in REASONS:
        return f"{most} is {REASONS[most]}: give rows without this fault, or read them by {FUNCTION}"
    return "give more data, or lower the held-out shares" if name == "train" else "give a set with comparisons"
