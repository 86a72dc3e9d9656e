"""From settings, or rows in memory, to the splits of a run, and an account of every row on the way.

For each split, in comparisons: rows = comparisons + rejected + dropped by findings + split off + grouped away + sampled
away, where a row that is not rejected is one comparison. The account is the report's, and `describe` prints it.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from ..config import SYNTHETIC, Data, Policy, Sources, as_list
from ..errors import DataError, UserError
from ..records import Comparison, Rejected
from .clean import CHECKS, clean, count_judgments, group_by_prompt, topic
from .fields import Place, Row
from .formats import Numbered, choose_format, convert_rows
from .sources import read_rows, resolve, sha256, stem
from .split import sample, split_by_prompt

Rows = Iterable[Row | Comparison]
SOURCES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Splits:
    """What a run trains and is judged on.

    Attributes:
        train: after policies, grouping and sampling.
        evals: evaluation sets by name, "valid" first, as they came, or a sample of that.
        test: read once, at the end; empty where there is none.
        report: ready for JSON; report["splits"][name] accounts for every row of a split.
    """

    train: list[Comparison]
    evals: dict[str, list[Comparison]]
    test: list[Comparison]
    report: dict[str, Any]


@dataclass(slots=True)
class _Split:
    """A split on its way, and its account."""

    name: str
    comparisons: list[Comparison] = field(default_factory=list)
    sources: list[dict[str, Any]] = field(default_factory=list)
    rows: int = 0
    rejected: dict[str, dict[str, Any]] = field(default_factory=dict)
    findings: dict[str, dict[str, Any]] = field(default_factory=dict)
    split_from: str = ""
    split_off: dict[str, int] = field(default_factory=dict)
    grouped_away: int = 0
    sample: dict[str, Any] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """The account as plain JSON values."""
        account = {key: getattr(self, key) for key in self.__slots__ if key not in ("name", "comparisons")}
        return account | {
            "sampled_away": self.sample["of"] - self.sample["kept"],
            "comparisons": len(self.comparisons),
            "judgments": count_judgments(self.comparisons),
            "responses": sum(len(comparison.responses) for comparison in self.comparisons),
            "prompts": len({comparison.prompt_key for comparison in self.comparisons}),
        }


def load_splits(
    data: Data, seed: int, *, train: Rows | None = None, valid: Rows | None = None, test: Rows | None = None
) -> Splits:
    """Read, split, clean, group and sample what `data` names; rows or comparisons given here replace its sources.

    Training leaves what it may not see to the others first: where `valid` (or `test`) has no source of its own, the
    share of prompts that the settings name is split off before anything is dropped. Evaluation sets keep every
    comparison, whatever is found in them, and are neither cleaned nor grouped, so that runs stay comparable; only
    `eval_limit` samples them. Whatever prompt of the test split is also in another evaluation set stops the run, unless
    `leaked` is `keep`.

    Raises:
        DataError: a file or a row is at fault, a policy is `error`, too many rows cannot be used, or a split is empty.
        UserError: the settings contradict themselves.
    """
    wanted = {"train": data.train, "valid": data.valid, **data.eval_sets, "test": data.test}
    given = {"train": train, "valid": valid, "test": test}
    for name, sources in wanted.items():
        if given.get(name) is None:
            _check_sources(name, sources)
    splits = {
        name: _read(name, sources, given.get(name), data, seed)
        for name, sources in wanted.items()
        if given.get(name) is not None or as_list(sources) or name in ("train", *data.eval_sets)
    }
    held_out = {"valid": data.valid_share, "test": data.test_share}
    _split_off(splits, {name: share for name, share in held_out.items() if share and name not in splits}, seed)
    _clean(splits, data)
    for split in splits.values():
        _check_share(split, data.max_rejected_share)
        _shrink(split, data, seed)
        _check_filled(split)
    report = {"seed": seed, "splits": {name: splits[name].report() for name in wanted if name in splits}}
    parts = {name: splits[name].comparisons for name in wanted if name in splits}
    return Splits(parts.pop("train"), test=parts.pop("test", []), evals=parts, report=report)


def describe(report: dict[str, Any]) -> str:
    """The account for the screen: a line per split, and one for everything that was found, left out or sampled."""
    lines = []
    for name, split in report["splits"].items():
        if "rows" in split:
            counts = ", ".join(f"{split[key]:,} {key}" for key in ("comparisons", "judgments", "responses", "prompts"))
            origin = f"split from {split['split_from']}" if split["split_from"] else f"{split['rows']:,} rows"
            lines += [f"{'data':<12} {name}: {counts}; {origin}", *(f"{'':<12}   {note}" for note in _notes(split))]
    return "\n".join(lines)


def _read(name: str, sources: Sources, rows: Rows | None, data: Data, seed: int) -> _Split:
    split = _Split(name)
    taken: set[str] = set()
    if rows is not None:
        _add(split, enumerate(rows, start=1), data, Place(f"{name} rows", name, equal_scores=data.equal_scores), taken)
    elif SYNTHETIC in as_list(sources):
        _add(split, enumerate(_compose(data, seed), start=1), data, Place(SYNTHETIC, "synthetic"), taken)
    else:
        for path in resolve(sources):
            place = Place(str(path), stem(path), equal_scores=data.equal_scores)
            _add(split, read_rows(path), data, place, taken)
            split.sources[-1]["sha256"] = sha256(path)
    return split


def _compose(data: Data, seed: int) -> list[Comparison]:
    from .synthetic import compose

    return compose(data.synthetic, seed)


def _check_sources(name: str, sources: Sources) -> None:
    """Whether everything named is there, before the first row is read."""
    if SYNTHETIC not in as_list(sources):
        resolve(sources)
    elif name != "train":
        hint = "leave it empty, and a share of the synthetic prompts is split off" if name in ("valid", "test") else ""
        raise UserError(f"{SYNTHETIC} is given for {name}, and only data.train can be composed", hint or "name a file")
    elif len(as_list(sources)) > 1:
        raise UserError(f"{SYNTHETIC} is given together with other sources of data.train", "give one or the other")


def _add(split: _Split, rows: Numbered, data: Data, place: Place, taken: set[str]) -> None:
    format, rows = choose_format(rows, data.format, place.name)
    count = 0
    for result in convert_rows(rows, format, place, taken):
        count += 1
        if isinstance(result, Comparison):
            split.comparisons.append(result)
        else:
            _reject(split, result, place.name)
    split.rows += count
    split.sources.append({"path": place.name, "format": format, "rows": count, "sha256": None})


def _reject(split: _Split, row: Rejected, file: str) -> None:
    example = {"file": file, "row": row.row, "detail": row.detail}
    split.rejected.setdefault(row.reason, {"count": 0, "example": example})["count"] += 1


def _split_off(splits: dict[str, _Split], shares: dict[str, float], seed: int) -> None:
    if not shares:
        return
    train = splits["train"]
    all_shares = {**shares, "train": 1.0 - sum(shares.values())}
    order: list[str] = [name for name in ("valid", "train", "test") if name in all_shares]
    parts = split_by_prompt(train.comparisons, {name: all_shares[name] for name in order}, seed)
    train.comparisons = parts.pop("train")
    for name, part in parts.items():
        splits[name] = _Split(name, part, rows=len(part), split_from="train")
        train.split_off[name] = len(part)


def _clean(splits: dict[str, _Split], data: Data) -> None:
    topics = {name: frozenset(map(topic, split.comparisons)) for name, split in splits.items() if name != "train"}
    selecting = [name for name in topics if name != "test"]
    for name, split in splits.items():
        policies: dict[str, Policy] = dict.fromkeys(CHECKS, "keep")
        if name == "train":
            policies = {check: getattr(data, check) for check in CHECKS}
        elif name != "test":
            del policies["leaked"]
        others = topics if name == "train" else selecting
        known = frozenset[str]().union(*(topics[other] for other in others))
        split.comparisons, findings = clean(split.comparisons, policies, known)
        split.findings = {check: asdict(finding) for check, finding in findings.items()}
    if "test" in splits and data.leaked != "keep":
        _check_test(splits["test"], selecting)


def _check_test(test: _Split, others: list[str]) -> None:
    """Raise `DataError` where the test split repeats prompts of the other evaluation sets."""
    found = test.findings["leaked"]
    if found["count"]:
        message = f"{found['count']} test comparisons have a prompt that is also in {' or '.join(others)}"
        raise DataError(
            f"{message}, such as {found['example']}",
            "take them out of one of the files, or use --data.leaked keep; evaluation rows are never dropped",
        )


def _shrink(split: _Split, data: Data, seed: int) -> None:
    training = split.name == "train"
    if training and data.group_by == "prompt":
        before = len(split.comparisons)
        split.comparisons = group_by_prompt(split.comparisons, data.group_max_responses)
        split.grouped_away = before - len(split.comparisons)
    limit = data.limit if training else data.eval_limit
    split.comparisons, split.sample = sample(split.comparisons, limit, seed, split.name)


def _check_share(split: _Split, most: float) -> None:
    lost = unusable(split.rejected, split.findings)
    count = sum(lost.values())
    if count <= most * split.rows:
        return
    reasons = ", ".join(f"{reason} {number}" for reason, number in lost.items())
    examples = [entry["example"] for entry in split.rejected.values()]
    where = f"; such as {examples[0]['file']}, row {examples[0]['row']}: {examples[0]['detail']}" if examples else ""
    needed = math.ceil(100 * count / split.rows) / 100
    raise DataError(
        f"{count} of {split.rows} rows of {split.name} cannot be used ({reasons}), the limit is {most:.0%}{where}",
        f"correct the data, or use --data.max_rejected_share {needed}" if needed < 1 else "correct the data",
    )


def unusable(rejected: dict[str, Any], findings: dict[str, Any]) -> dict[str, int]:
    """Rows of a split that loading lost, by reason or policy."""
    rows = {reason: entry["count"] for reason, entry in rejected.items()}
    rows |= {check: finding["dropped"] for check, finding in findings.items() if finding["dropped"]}
    return rows


def _check_filled(split: _Split) -> None:
    if split.comparisons:
        return
    if split.split_from:
        hint = f"raise --data.{split.name}_share, or name a file with --data.{split.name}"
        raise DataError(f"{split.name} is empty: its share holds none of the prompts of {split.split_from}", hint)
    taken = f", of which {split.split_off} were split off" if split.split_off else ""
    found = unusable(split.rejected, split.findings)
    reasons = f" ({', '.join(f'{reason} {count}' for reason, count in found.items())})" if found else ""
    hint = "give more data, or lower the held-out shares" if split.name == "train" else "give a set with comparisons"
    raise DataError(f"{split.name} is empty: {split.rows} rows{taken}, none is left{reasons}", hint)


def _notes(split: dict[str, Any]) -> list[str]:
    notes = [f"split off {count:,} for {name}" for name, count in split["split_off"].items()]
    for reason, entry in split["rejected"].items():
        example = entry["example"]
        notes.append(f"rejected {entry['count']:,} {reason}, such as {example['file']}, row {example['row']}")
    for check, finding in split["findings"].items():
        if finding["count"]:
            done = f"{finding['dropped']:,} dropped" if finding["policy"] == "drop" else "kept"
            notes.append(f"found {finding['count']:,} {check}, {done}, such as {finding['example']}")
    if split["grouped_away"]:
        notes.append(f"grouped by prompt: {split['grouped_away']:,} merged into others")
    if split["sampled_away"]:
        sources = [f"{name} {n['kept']:,} of {n['of']:,}" for name, n in split["sample"]["sources"].items()]
        more = [f"and {len(sources) - SOURCES_SHOWN} more"] if len(sources) > SOURCES_SHOWN else []
        notes.append(f"sample of {split['comparisons']:,}: {', '.join(sources[:SOURCES_SHOWN] + more)}")
    return notes
