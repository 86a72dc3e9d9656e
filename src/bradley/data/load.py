"""Load the splits of a run, from settings or rows in memory, with a report of every row.

Without a source for `valid` or `test`, a share of the training prompts is split off before any comparison is dropped.
Evaluation sets keep every comparison, faults included, and are neither filtered nor grouped, to keep runs comparable.
Only `eval_limit` samples evaluation sets. A test prompt also found in another evaluation set stops the run, unless
`leaked` is `keep`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..common.signals import check as check_stopping
from ..config import SYNTHETIC, Data, Policy, Words, as_list, name_problem
from ..errors import DataError, UserError
from ..records import Comparison
from .filters import CHECKS, NO_TOPICS, apply_filters, group_by_prompt
from .formats import Numbered, choose_format, convert_rows, idle_settings
from .report import SplitReport
from .rows import Row, RowPlace
from .sources import resolve
from .sources.csv_rows import text_columns
from .sources.plain import numbered
from .split import cap_per_prompt, mix, sample, split_by_prompt
from .table import ComparisonTable, Selection, everything

Rows = Iterable[Row | Comparison]


@dataclass(frozen=True, slots=True)
class Splits:
    """Comparisons of a run, by split.

    Attributes:
        train: training comparisons, after policies, grouping and sampling.
        evals: evaluation sets by name, "valid" first; unchanged, or a sample of each.
        test: test comparisons, read once at the end; empty without a test split.
        report: report in plain JSON values; report["splits"][name] accounts for every row of a split.
    """

    train: Sequence[Comparison]
    evals: dict[str, Sequence[Comparison]]
    test: Sequence[Comparison]
    report: dict[str, Any]

    @property
    def by_name(self) -> dict[str, Sequence[Comparison]]:
        """Splits by name: "train", the evaluation sets, and "test" unless empty."""
        return {"train": self.train, **self.evals, **({"test": self.test} if self.test else {})}


def load_splits(
    data: Data,
    seed: int,
    *,
    train: Rows | None = None,
    valid: Rows | None = None,
    test: Rows | None = None,
    eval_sets: Mapping[str, Rows] | None = None,
    strict: bool = True,
) -> Splits:
    """Read, mix, split, filter, cap, group and sample the data named by the settings; `seed` fixes every random choice.

    Args:
        train, valid, test: rows or comparisons in memory, instead of the source of the same name in `data`.
        eval_sets: further evaluation sets in memory, by name.
        strict: True to raise an error for too many unusable rows; False to leave this to the report.

    Raises:
        DataError: a file or a row is at fault, a policy is `error`, too many rows cannot be used, or a split is empty.
        UserError: the settings contradict each other, or a setting has no effect on these data.
        StopRequested: the process was asked to stop.

    Example:
        rows = [{"prompt": f"Is {n} even?", "chosen": "Yes.", "rejected": "No."} for n in range(0, 200, 2)]
        splits = bradley.load_splits(bradley.Data(valid_share=0.2), seed=0, train=rows)  # 81 train, 19 valid
    """
    for name in eval_sets or {}:
        if problem := name_problem(name):
            raise UserError(f"eval_sets: {problem}", 'give it another name, such as "hard"')
    given: dict[str, Rows | None] = {"train": train, "valid": valid, **(eval_sets or {}), "test": test}
    wanted = {"train": data.train, "valid": data.valid, **data.eval_sets, "test": data.test}
    wanted = {name: wanted.get(name, "") for name in dict.fromkeys([*list(wanted)[:-1], *given])}
    # Every source is looked up before the first is read: a misspelt test file must not cost minutes of reading.
    for name, sources in wanted.items():
        if given.get(name) is None:
            _check_sources(name, sources)
    splits = {
        name: _read(name, sources, given.get(name), data, seed)
        for name, sources in wanted.items()
        if given.get(name) is not None or as_list(sources) or name in ("train", *data.eval_sets)
    }
    _check_idle(splits, data)
    # Held-out prompts leave training before policies run, so the policies never decide which prompts are evaluated.
    held_out = {"valid": data.valid_share, "test": data.test_share}
    _split_off(splits, {name: share for name, share in held_out.items() if share and name not in splits}, seed)
    _clean(splits, data)
    for split in splits.values():
        if strict:
            _check_share(split, data.max_rejected_share)
        _shrink(split, data, seed)
        _check_filled(split)
    _compare(splits)
    order = [name for name in wanted if name in splits]
    report = {
        "seed": seed,
        "max_rejected_share": data.max_rejected_share,
        "splits": {name: splits[name].account.report(splits[name].left) for name in order},
    }
    parts: dict[str, Sequence[Comparison]] = {name: splits[name].left for name in order}
    return Splits(parts.pop("train"), test=parts.pop("test", []), evals=parts, report=report)


@dataclass(slots=True)
class _Split:
    """A split during loading: the remaining comparisons, and the report."""

    name: str
    left: Selection
    account: SplitReport = field(default_factory=SplitReport)


def _read(name: str, sources: Words, rows: Rows | None, data: Data, seed: int) -> _Split:
    """Read the rows of a split from memory, from synthetic preferences or from files."""
    table, report = ComparisonTable(), SplitReport()
    parts = as_list(sources)
    if rows is not None:
        _add(table, report, numbered(rows, f"{name} rows"), RowPlace(f"{name} rows", name, settings=data))
    elif SYNTHETIC in parts:
        _add(table, report, enumerate(_compose(data, seed), start=1), RowPlace(SYNTHETIC, "synthetic", settings=data))
    else:
        for source in resolve(sources):
            place = RowPlace(source.name, source.stem, settings=data)
            _add(table, report, source.rows(text_columns(data.columns)), place, parts.index(source.given))
            report.sources[-1] |= {"part": source.given, "sha256": source.digest()}
    split = _Split(name, everything(table), report)
    # A mixture names sources, and rows in memory have none: ignored, the setting would promise another data set.
    if name == "train" and data.mix and rows is not None:
        raise UserError("data.mix has no effect on rows in memory", "leave it out, and pass the mixture itself")
    # The mixture comes before splits by share, so held-out prompts are mixed like the training prompts.
    if name == "train" and data.mix:
        split.left, report.mix = mix(split.left, parts, data.mix, seed)
    return split


def _compose(data: Data, seed: int) -> list[Comparison]:
    """Compose synthetic comparisons."""
    from .synthetic import compose

    return compose(data.synthetic, seed)


def _check_sources(name: str, sources: Words) -> None:
    """Raise an error for a missing or misplaced source, before the first row is read."""
    if SYNTHETIC not in as_list(sources):
        resolve(sources)
    elif name != "train":
        hint = "leave it empty, and a share of the synthetic prompts is split off" if name in ("valid", "test") else ""
        raise UserError(f"{SYNTHETIC} is given for {name}, and only data.train can be composed", hint or "name a file")
    elif len(as_list(sources)) > 1:
        raise UserError(f"{SYNTHETIC} is given together with other sources of data.train", "give one or the other")


def _add(pool: ComparisonTable, account: SplitReport, rows: Numbered, place: RowPlace, part: int = 0) -> None:
    """Convert rows; add comparisons to the table, and the other rows to the report."""
    format, rows = choose_format(rows, place.settings.format, place.name, place.settings.columns)
    # Rows arrive one by one and have no length; the report must account for every row that was read.
    count = 0
    for result in convert_rows(rows, format, place, pool.ids):
        count += 1
        if isinstance(result, Comparison):
            pool.add(result, part)
        else:
            account.reject(result, place.name)
    account.rows += count
    account.inferred_prompts += place.notes["inferred_prompts"]
    account.sources.append({"path": place.name, "part": "", "format": format, "rows": count, "sha256": None})


def _check_idle(splits: dict[str, _Split], data: Data) -> None:
    """Raise `UserError` for a setting read by none of the formats in use."""
    formats = {source["format"] for split in splits.values() for source in split.account.sources}
    idle = idle_settings(data, formats)
    if idle:
        raise UserError(list(idle), "leave it out, or name the format with data.format")


def _split_off(splits: dict[str, _Split], shares: dict[str, float], seed: int) -> None:
    """Split the held-out shares off from training, by prompt."""
    if not shares:
        return
    train = splits["train"]
    all_shares = {**shares, "train": 1.0 - sum(shares.values())}
    # With test after train, a larger test share takes prompts from train alone, and valid stays as it is.
    order: list[str] = [name for name in ("valid", "train", "test") if name in all_shares]
    parts = split_by_prompt(train.left, {name: all_shares[name] for name in order}, seed)
    train.left = parts.pop("train")
    for name, part in parts.items():
        splits[name] = _Split(name, part, SplitReport(rows=len(part), split_from="train"))
        train.account.split_off[name] = len(part)


def _clean(splits: dict[str, _Split], data: Data) -> None:
    """Apply the policies: the user's to training, `keep` to evaluation sets."""
    topics = {name: split.left.topics() for name, split in splits.items() if name != "train"}
    selecting = [name for name in topics if name != "test"]
    for name, split in splits.items():
        # Evaluation sets are checked as well, for the report; dropping rows would make scores of two runs incomparable.
        policies: dict[str, Policy] = dict.fromkeys(CHECKS, "keep")
        if name == "train":
            policies = {check: getattr(data, check) for check in CHECKS}
        elif name != "test":
            # Sets that select the checkpoint may overlap each other. Only a test prompt seen before makes the last
            # figure wrong.
            del policies["leaked"]
        others = topics if name == "train" else selecting
        known = np.concatenate([NO_TOPICS, *(topics[other] for other in others)])
        split.left, findings = apply_filters(split.left, policies, known)
        split.account.findings = {check: asdict(finding) for check, finding in findings.items()}
    if "test" in splits and data.leaked != "keep":
        _check_test(splits["test"].account, selecting)


def _check_test(test: SplitReport, others: list[str]) -> None:
    """Raise `DataError` if the test split repeats prompts of the other evaluation sets."""
    found = test.findings["leaked"]
    if found["count"]:
        message = f"{found['count']} test comparisons have a prompt that is also in {' or '.join(others)}"
        raise DataError(
            f"{message}, such as {found['examples'][0]}",
            "take them out of one of the files, or use --data.leaked keep; evaluation rows are never dropped",
        )


def _shrink(split: _Split, data: Data, seed: int) -> None:
    """Cap, group and sample a split."""
    training = split.name == "train"
    # The cap comes first: after grouping, a prompt is usually a single comparison, and a cap would remove nothing.
    if training and data.max_per_prompt:
        before = len(split.left)
        split.left = cap_per_prompt(split.left, data.max_per_prompt, seed)
        split.account.capped_away = before - len(split.left)
    if training and data.group_by == "prompt":
        before = len(split.left)
        split.left = group_by_prompt(split.left, data.group_max_responses)
        split.account.grouped_away = before - len(split.left)
    limit = data.limit if training else data.eval_limit
    split.left, split.account.sample = sample(split.left, limit, seed, split.name)


def _compare(splits: dict[str, _Split]) -> None:
    """Count near repeats inside each split, and evaluation prompts with the words of a training prompt.

    Near texts differ only in case, blanks and punctuation.
    """
    prompts = splits["train"].left.column("near_prompt")
    for name, split in splits.items():
        check_stopping()
        words = split.left.column("near")
        split.account.near_repeats = len(words) - len(np.unique(words))
        if name != "train":
            split.account.near_train = int(np.isin(split.left.column("near_prompt"), prompts).sum())


def _check_share(split: _Split, most: float) -> None:
    """Raise `DataError` if a split lost more rows than the settings allow."""
    report = split.account
    lost = report.unusable()
    count = sum(lost.values())
    if count <= most * report.rows:
        return
    reasons = ", ".join(f"{reason} {number}" for reason, number in lost.items())
    examples = [entry["examples"][0] for reason, entry in report.rejected.items() if reason in lost]
    where = f"; such as {examples[0]['file']}, row {examples[0]['row']}: {examples[0]['detail']}" if examples else ""
    # Rounded up: the share in the hint must let these data pass.
    needed = math.ceil(100 * count / report.rows) / 100
    raise DataError(
        f"{count} of {report.rows} rows of {split.name} cannot be used ({reasons}), the limit is {most:.0%}{where}",
        f"correct the data, or use --data.max_rejected_share {needed}" if needed < 1 else "correct the data",
    )


def _check_filled(split: _Split) -> None:
    """Raise `DataError` for an empty split, with the reasons."""
    if len(split.left):
        return
    report = split.account
    if report.split_from:
        hint = f"raise --data.{split.name}_share, or name a file with --data.{split.name}"
        raise DataError(f"{split.name} is empty: its share holds none of the prompts of {report.split_from}", hint)
    given = " and ".join(f"{count} for {name}" for name, count in report.split_off.items())
    taken = f", of which were split off {given}" if given else ""
    found = report.unusable() | {reason: entry["count"] for reason, entry in report.rejected.items()}
    reasons = f" ({', '.join(f'{reason} {count}' for reason, count in found.items())})" if found else ""
    hint = "give more data, or lower the held-out shares" if split.name == "train" else "give a set with comparisons"
    raise DataError(f"{split.name} is empty: {report.rows} rows{taken}, none is left{reasons}", hint)
