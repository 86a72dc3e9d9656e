"""Load the splits of a run, from settings or rows in memory, with a report of every row.

Without a source for `valid` or `test`, a share of the training prompts is split off before any comparison is dropped.
Evaluation sets keep every comparison, faults included, and are neither filtered nor grouped, to keep runs comparable.
Only `eval_limit` samples evaluation sets. A test prompt also found in another evaluation set stops the run, unless
`leaked` is `keep`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from ..common.console import Console
from ..common.signals import check as check_stopping
from ..config import SYNTHETIC, Data, Policy, Words, as_list, name_problem
from ..errors import DataError, UserError
from ..records import Comparison, Rejected
from .checks import check_filled, check_of_sources, check_share, check_sources, check_test, check_training
from .faults import MOST_FAULTS_ALONE, Faulty, FileFaults, faults_error
from .filters import CHECKS, NO_TOPICS, apply_filters, group_by_prompt
from .formats import FORMATS, Numbered, Reading, choose_format, convert_rows, idle_settings
from .judges import gather, whose
from .prefetch import Prefetch
from .report import SplitReport
from .row_cache import Cache, Inputs, read_rows, reading_settings
from .rows import Row, RowPlace
from .sources import resolve
from .sources.csv_rows import text_columns
from .sources.plain import numbered
from .split import cap_per_prompt, mix, sample, split_by_prompt
from .table import ComparisonTable, Selection, everything

Rows = Iterable[Row | Comparison]
WRITTEN = ("transcripts", "other_transcripts", "absent_answers")
"""Notes of the reading of a file that stand with the file in the report."""


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
    cache: Cache = "default",
    console: Console | None = None,
    prefetch: Prefetch | None = None,
) -> Splits:
    """Read, mix, split, filter, cap, group and sample the data named by the settings; `seed` fixes every random choice.

    Args:
        train, valid, test: rows or comparisons in memory, instead of the source of the same name in `data`.
        eval_sets: further evaluation sets in memory, by name.
        strict: True to raise an error for too many unusable rows; False to leave this to the report.
        cache: folder of rows read before, see `row_cache`: the folder of token stores by default; None for no cache.
        console: shows rows and rate while reading; None for no output.
        prefetch: encodes comparisons while further rows are read; None for reading alone.

    Raises:
        DataError: a file or a row is at fault, a policy is `error`, too many rows cannot be used, or a split is empty.
        UserError: the settings contradict each other, a setting has no effect on these data, or evaluation data come
            without training data.
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
    known = [n for name, sources in wanted.items() if given.get(name) is None for n in check_sources(name, sources)]
    check_of_sources(data, {*wanted, *known})
    check_training(data, {name for name, rows in given.items() if rows is not None}, wanted)
    # Rows left out by a limit or a mixture would be encoded for nothing.
    prefetch = None if data.limit or data.mix else prefetch
    try:
        splits = {
            name: _read(name, sources, given.get(name), data, seed, cache, console or Console("quiet"), prefetch)
            for name, sources in wanted.items()
            if given.get(name) is not None or as_list(sources) or name in ("train", *data.eval_sets)
        }
    finally:
        if prefetch is not None:
            prefetch.finish()
    faulty = [FileFaults(**file) for split in splits.values() for file in split.account.faulty]
    if data.faulty == "error" and faulty:
        raise faults_error(faulty)
    # Held-out prompts leave training before policies run, so the policies never decide which prompts are evaluated.
    held_out = {"valid": data.valid_share, "test": data.test_share}
    _split_off(splits, {name: share for name, share in held_out.items() if share and name not in splits}, seed)
    _clean(splits, data)
    _check_idle(splits, data)
    for split in splits.values():
        if strict:
            check_share(split.name, split.account, data.max_rejected_share)
        _shrink(split, data, seed)
        check_filled(split.name, split.account, len(split.left), split.shared)
    _compare(splits)
    return _result([splits[name] for name in wanted if name in splits], data, seed)


@dataclass(slots=True)
class _Split:
    """A split during loading.

    Attributes:
        left: the remaining comparisons.
        account: the report.
        shared: number of prompts that a split by share divided; 0 without such a split.
    """

    name: str
    left: Selection
    account: SplitReport = field(default_factory=SplitReport)
    shared: int = 0


def _result(splits: list[_Split], data: Data, seed: int) -> Splits:
    """Return what is left of the splits, with the report."""
    report = {
        "seed": seed,
        "max_rejected_share": data.max_rejected_share,
        "splits": {split.name: split.account.report(split.left) for split in splits},
    }
    parts: dict[str, Sequence[Comparison]] = {split.name: split.left for split in splits}
    return Splits(parts.pop("train"), test=parts.pop("test", []), evals=parts, report=report)


def _read(
    name: str,
    sources: Words,
    rows: Rows | None,
    data: Data,
    seed: int,
    cache: Cache,
    console: Console,
    prefetch: Prefetch | None,
) -> _Split:
    """Read the rows of a split from memory, from synthetic preferences, from files or from the cache."""
    parts = as_list(sources)
    composed = rows is None and SYNTHETIC in parts
    found = [] if composed or rows is not None else [(each, parts.index(each.given)) for each in resolve(sources)]
    reading = reading_settings(data)

    def fill(table: ComparisonTable, report: SplitReport) -> None:
        with console.counting(f"reading {name}", "rows") as count:
            if composed:
                place = RowPlace(SYNTHETIC, "synthetic", settings=data.of_source(SYNTHETIC, name))
                _add(table, report, enumerate(_compose(data, seed), start=1), place, prefetch)
            elif rows is not None:
                place = RowPlace(f"{name} rows", name, settings=reading.of_source(name))
                _add(table, report, count(numbered(rows, f"{name} rows")), place, prefetch)
            for source, part in found:
                own = reading.of_source(source.given, source.name, name)
                read = count((source.counting or source.rows)(text_columns(own.columns_of())))
                _add(table, report, read, RowPlace(source.name, source.stem, settings=own), prefetch, part)
                report.sources[-1] |= {"part": source.given, "sha256": source.digest()}

    table, report = read_rows(Inputs(name, found, rows, data), fill, cache, console.warn)
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


def _add(
    pool: ComparisonTable,
    account: SplitReport,
    rows: Numbered,
    place: RowPlace,
    prefetch: Prefetch | None,
    part: int = 0,
) -> None:
    """Convert rows; add comparisons to the table, and the other rows to the report."""
    data, faults = place.settings, FileFaults(place.name)
    reading, rows = choose_format(rows, place, count_faults=True)
    try:
        _sort(pool, account, _Noted(rows, reading.format), reading, place, part, faults, prefetch)
    except DataError as error:
        # The reader itself failed, and no later row can be read: the faults found until then are told as well.
        if not faults.count or data.faulty == "drop":
            raise
        faults.whole = False
        raise faults_error([faults], error) from error
    if not faults.whole:
        raise faults_error([faults])
    account.rows += faults.rows
    account.inferred_prompts += place.notes["inferred_prompts"]
    account.faulty += [asdict(faults)] if faults.count else []
    found = {"path": place.name, "part": "", "format": reading.format, "reading": reading.describe()}
    written = {kind: place.notes[kind] for kind in WRITTEN if place.notes[kind]}
    account.sources.append({**found, **written, "rows": faults.rows, "sha256": None})


def _sort(
    pool: ComparisonTable,
    account: SplitReport,
    rows: "_Noted",
    reading: Reading,
    place: RowPlace,
    part: int,
    faults: FileFaults,
    prefetch: Prefetch | None,
) -> None:
    """Convert each row, and add the result to the table, to the report or to the faulty rows."""
    before = len(pool)
    # Rows arrive one by one and have no length; the report must account for every row that was read.
    for result in convert_rows(rows, reading, place, pool.ids, count_faults=True):
        faults.rows += 1
        if isinstance(result, Comparison):
            line = pool.add(result, part, rows.own)
            if prefetch is not None:
                prefetch.add(line)
        elif isinstance(result, Faulty):
            account.reject(replace(result, reason=faults.add(result)), place.name)
            # A file without a usable row has another shape: its other million rows would say nothing new.
            if place.settings.faulty == "error" and len(pool) == before and faults.count == MOST_FAULTS_ALONE:
                faults.whole = False
                return
        else:
            account.reject(result, place.name)


class _Noted:
    """Rows passed on one by one, with the own id of the last row: a repeated id is not the id of the comparison.

    Attributes:
        own: the id, "" for none.
    """

    def __init__(self, rows: Numbered, format: str) -> None:
        self.rows, self.own = rows, ""
        self._own_id = FORMATS[format].own_id if format in FORMATS else lambda row: row.get("id")

    def __iter__(self) -> Iterator[tuple[int, Row | Comparison | Rejected]]:
        for number, row in self.rows:
            own = self._own_id(row) if isinstance(row, dict) else getattr(row, "id", "")
            # A truth value is an `int` in Python, and True is no id.
            self.own = str(own) if isinstance(own, str | int) and not isinstance(own, bool) else ""
            yield number, row


def _check_idle(splits: dict[str, _Split], data: Data) -> None:
    """Raise `UserError` for a setting read by none of the formats in use, nor by the gathering of judges."""
    formats = {source["format"] for split in splits.values() for source in split.account.sources}
    gathered = splits["train"].account.gathered["rows"]
    idle = [line for line in idle_settings(data, formats) if not (gathered and line.startswith("data.votes"))]
    if idle:
        raise UserError(list(idle), "leave it out, or name the format with data.format")


def _split_off(splits: dict[str, _Split], shares: dict[str, float], seed: int) -> None:
    """Split the held-out shares off from training, by prompt."""
    if not shares:
        return
    train = splits["train"]
    train.shared = len(train.left.topics())
    all_shares = {**shares, "train": 1.0 - sum(shares.values())}
    # With test after train, a larger test share takes prompts from train alone, and valid stays as it is.
    order: list[str] = [name for name in ("valid", "train", "test") if name in all_shares]
    parts = split_by_prompt(train.left, {name: all_shares[name] for name in order}, seed)
    train.left = parts.pop("train")
    for name, part in parts.items():
        report = SplitReport(rows=len(part), split_from="train")
        splits[name] = _Split(name, part, report, shared=train.shared)
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
        judge = whose(split.left, data.judges) if name == "train" else None
        split.left, findings = apply_filters(split.left, policies, known, judge)
        # Only training has policies of the user.
        named = data.model_fields_set if name == "train" else ()
        split.account.findings = {
            check: asdict(finding) | {"named": check in named} for check, finding in findings.items()
        }
        if judge is not None:
            before = len(split.left)
            split.left, split.account.gathered = gather(split.left, judge, data.votes, data.equal_scores)
            split.account.gathered_away = before - len(split.left)
    if "test" in splits and data.leaked != "keep":
        check_test(splits["test"].account, selecting)


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
