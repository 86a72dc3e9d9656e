"""From settings, or rows in memory, to the splits of a run, and an account of every row on the way."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..common.signals import check as check_stopping
from ..config import SYNTHETIC, Data, Policy, Words, as_list, name_problem
from ..errors import DataError, UserError
from ..records import Comparison
from .filters import CHECKS, NOTHING, apply_filters, group_by_prompt
from .formats import Numbered, choose_format, convert_rows, idle_settings
from .report import SplitReport
from .rows import Row, RowPlace
from .sources import resolve
from .split import cap_per_prompt, mix, sample, split_by_prompt
from .table import ComparisonTable, Selection, everything

Rows = Iterable[Row | Comparison]


@dataclass(frozen=True, slots=True)
class Splits:
    """What a run trains and is judged on.

    Attributes:
        train: after policies, grouping and sampling.
        evals: evaluation sets by name, "valid" first, as they came, or a sample of that.
        test: read once, at the end; empty where there is none.
        report: ready for JSON; report["splits"][name] accounts for every row of a split.
    """

    train: Sequence[Comparison]
    evals: dict[str, Sequence[Comparison]]
    test: Sequence[Comparison]
    report: dict[str, Any]

    @property
    def by_name(self) -> dict[str, Sequence[Comparison]]:
        """Every split there is: "train", the evaluation sets, "test"."""
        return {"train": self.train, **self.evals, **({"test": self.test} if self.test else {})}


@dataclass(slots=True)
class _Split:
    """A split on its way: what is left of it, and its account."""

    name: str
    left: Selection
    account: SplitReport = field(default_factory=SplitReport)


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
    """Read, mix, split, clean, cap, group and sample what `data` names; rows or comparisons given here replace its
    sources.

    Training leaves what it may not see to the others first: where `valid` (or `test`) has no source of its own, the
    share of prompts that the settings name is split off before anything is dropped. Evaluation sets keep every
    comparison, whatever is found in them, and are neither cleaned nor grouped, so that runs stay comparable; only
    `eval_limit` samples them. Whatever prompt of the test split is also in another evaluation set stops the run, unless
    `leaked` is `keep`.

    Args:
        strict: whether too many unusable rows are an error; without it the report alone says so.

    Raises:
        DataError: a file or a row is at fault, a policy is `error`, too many rows cannot be used, or a split is empty.
        UserError: the settings contradict themselves, or one of them has no effect on these data.
        StopRequested: the process was asked to stop.
    """
    for name in eval_sets or {}:
        if problem := name_problem(name):
            raise UserError(f"eval_sets: {problem}", 'give it another name, such as "hard"')
    given: dict[str, Rows | None] = {"train": train, "valid": valid, **(eval_sets or {}), "test": test}
    wanted = {"train": data.train, "valid": data.valid, **data.eval_sets, "test": data.test}
    wanted = {name: wanted.get(name, "") for name in dict.fromkeys([*list(wanted)[:-1], *given])}
    for name, sources in wanted.items():
        if given.get(name) is None:
            _check_sources(name, sources)
    splits = {
        name: _read(name, sources, given.get(name), data, seed)
        for name, sources in wanted.items()
        if given.get(name) is not None or as_list(sources) or name in ("train", *data.eval_sets)
    }
    _check_idle(splits, data)
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


def _read(name: str, sources: Words, rows: Rows | None, data: Data, seed: int) -> _Split:
    pool, account = ComparisonTable(), SplitReport()
    parts = as_list(sources)
    if rows is not None:
        _add(pool, account, enumerate(rows, start=1), RowPlace(f"{name} rows", name, settings=data))
    elif SYNTHETIC in parts:
        _add(pool, account, enumerate(_compose(data, seed), start=1), RowPlace(SYNTHETIC, "synthetic", settings=data))
    else:
        for source in resolve(sources):
            place = RowPlace(source.name, source.stem, settings=data)
            _add(pool, account, source.rows(), place, parts.index(source.given))
            account.sources[-1] |= {"part": source.given, "sha256": source.digest()}
    split = _Split(name, everything(pool), account)
    if name == "train" and data.mix and rows is not None:
        raise UserError("data.mix has no effect on rows in memory", "leave it out, and pass the mixture itself")
    if name == "train" and data.mix:
        split.left, account.mix = mix(split.left, parts, data.mix, seed)
    return split


def _compose(data: Data, seed: int) -> list[Comparison]:
    from .synthetic import compose

    return compose(data.synthetic, seed)


def _check_sources(name: str, sources: Words) -> None:
    """Whether everything named is there, before the first row is read."""
    if SYNTHETIC not in as_list(sources):
        resolve(sources)
    elif name != "train":
        hint = "leave it empty, and a share of the synthetic prompts is split off" if name in ("valid", "test") else ""
        raise UserError(f"{SYNTHETIC} is given for {name}, and only data.train can be composed", hint or "name a file")
    elif len(as_list(sources)) > 1:
        raise UserError(f"{SYNTHETIC} is given together with other sources of data.train", "give one or the other")


def _add(pool: ComparisonTable, account: SplitReport, rows: Numbered, place: RowPlace, part: int = 0) -> None:
    format, rows = choose_format(rows, place.settings.format, place.name, place.settings.columns)
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
    """Raise `UserError` for a setting that none of the formats in use reads."""
    formats = {source["format"] for split in splits.values() for source in split.account.sources}
    idle = idle_settings(data, formats)
    if idle:
        raise UserError("\n".join(idle), "leave it out, or name the format with data.format")


def _split_off(splits: dict[str, _Split], shares: dict[str, float], seed: int) -> None:
    if not shares:
        return
    train = splits["train"]
    all_shares = {**shares, "train": 1.0 - sum(shares.values())}
    order: list[str] = [name for name in ("valid", "train", "test") if name in all_shares]
    parts = split_by_prompt(train.left, {name: all_shares[name] for name in order}, seed)
    train.left = parts.pop("train")
    for name, part in parts.items():
        splits[name] = _Split(name, part, SplitReport(rows=len(part), split_from="train"))
        train.account.split_off[name] = len(part)


def _clean(splits: dict[str, _Split], data: Data) -> None:
    topics = {name: split.left.topics() for name, split in splits.items() if name != "train"}
    selecting = [name for name in topics if name != "test"]
    for name, split in splits.items():
        policies: dict[str, Policy] = dict.fromkeys(CHECKS, "keep")
        if name == "train":
            policies = {check: getattr(data, check) for check in CHECKS}
        elif name != "test":
            del policies["leaked"]
        others = topics if name == "train" else selecting
        known = np.concatenate([NOTHING, *(topics[other] for other in others)])
        split.left, findings = apply_filters(split.left, policies, known)
        split.account.findings = {check: asdict(finding) for check, finding in findings.items()}
    if "test" in splits and data.leaked != "keep":
        _check_test(splits["test"].account, selecting)


def _check_test(test: SplitReport, others: list[str]) -> None:
    """Raise `DataError` where the test split repeats prompts of the other evaluation sets."""
    found = test.findings["leaked"]
    if found["count"]:
        message = f"{found['count']} test comparisons have a prompt that is also in {' or '.join(others)}"
        raise DataError(
            f"{message}, such as {found['examples'][0]}",
            "take them out of one of the files, or use --data.leaked keep; evaluation rows are never dropped",
        )


def _shrink(split: _Split, data: Data, seed: int) -> None:
    training = split.name == "train"
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
    """Count what only differs in case, blanks and punctuation, inside each split and from training to evaluation."""
    prompts = splits["train"].left.column("near_prompt")
    for name, split in splits.items():
        check_stopping()
        words = split.left.column("near")
        split.account.near_repeats = len(words) - len(np.unique(words))
        if name != "train":
            split.account.near_train = int(np.isin(split.left.column("near_prompt"), prompts).sum())


def _check_share(split: _Split, most: float) -> None:
    account = split.account
    lost = account.unusable()
    count = sum(lost.values())
    if count <= most * account.rows:
        return
    reasons = ", ".join(f"{reason} {number}" for reason, number in lost.items())
    examples = [entry["examples"][0] for reason, entry in account.rejected.items() if reason in lost]
    where = f"; such as {examples[0]['file']}, row {examples[0]['row']}: {examples[0]['detail']}" if examples else ""
    needed = math.ceil(100 * count / account.rows) / 100
    raise DataError(
        f"{count} of {account.rows} rows of {split.name} cannot be used ({reasons}), the limit is {most:.0%}{where}",
        f"correct the data, or use --data.max_rejected_share {needed}" if needed < 1 else "correct the data",
    )


def _check_filled(split: _Split) -> None:
    if len(split.left):
        return
    account = split.account
    if account.split_from:
        hint = f"raise --data.{split.name}_share, or name a file with --data.{split.name}"
        raise DataError(f"{split.name} is empty: its share holds none of the prompts of {account.split_from}", hint)
    given = " and ".join(f"{count} for {name}" for name, count in account.split_off.items())
    taken = f", of which were split off {given}" if given else ""
    found = account.unusable() | {reason: entry["count"] for reason, entry in account.rejected.items()}
    reasons = f" ({', '.join(f'{reason} {count}' for reason, count in found.items())})" if found else ""
    hint = "give more data, or lower the held-out shares" if split.name == "train" else "give a set with comparisons"
    raise DataError(f"{split.name} is empty: {account.rows} rows{taken}, none is left{reasons}", hint)
