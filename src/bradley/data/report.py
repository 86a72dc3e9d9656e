"""Report of a split, for `data_report.json` and the screen: an account of every row.

For each split, in comparisons: rows = comparisons + rejected + mixed away + split off + dropped by findings + gathered
away + capped away + grouped away + sampled away + diagnosed away. A row is a comparison unless rejected.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

from ..common.signals import check as check_stopping
from ..config import Data
from ..records import Rejected
from .filters import EXAMPLES
from .formats import ASKED_FOR, REASONS
from .rows import on_one_line
from .table import Selection

SOURCES_SHOWN = 8
KEEPS_TIES = "; --data.equal_scores tie keeps ties"
NO_TIE = re.compile(r"no label|no votes|weight 0|\d+ chosen")
"""Beginning of the detail of a row without a judgment that is no tie: nothing was said, or nothing counts."""
BARS = "▁▂▃▄▅▆▇█"


def holds_tie(examples: Sequence[dict[str, Any]]) -> bool:
    """Return True for examples of rows without a judgment, of which at least one is a tie."""
    return any(not NO_TIE.match(example["detail"]) for example in examples)


@dataclass(slots=True)
class SplitReport:
    """Counts of a split's rows, by fate.

    Attributes:
        rows: rows read from sources; for a split by share, comparisons received.
        sources: each with path, part (the setting's entry), format, rows and sha256; and `reading`, a text about the
            use of the columns, where a format gives one.
        rejected: by reason, with a count and up to five examples; faulty rows too, by the fault in words.
        faulty: faulty rows by file, see `faults.FileFaults`; files without a faulty row are left out.
        mix: by part, comparisons available and kept.
        split_from, split_off: the split that gave this split's comparisons; comparisons given to other splits, by name.
        findings: by check of `filters`; `named` is True for a policy that the user named.
        gathered, gathered_away: see `judges.gather`; comparisons merged into votes, or left out for equal votes.
        capped_away, grouped_away: comparisons above the limit of a prompt; comparisons merged into others.
        sample: see `split.sample`.
        inferred_prompts: rows without a prompt column, with texts divided where the two begin to differ.
        near_repeats: comparisons with the words of an earlier comparison, apart from case, blanks and punctuation.
        near_train: evaluation comparisons with the words of a training prompt.
        diagnosed_away: comparisons left out by a diagnostic, see `diagnostics`.
    """

    rows: int = 0
    sources: list[dict[str, Any]] = field(default_factory=list)
    rejected: dict[str, dict[str, Any]] = field(default_factory=dict)
    faulty: list[dict[str, Any]] = field(default_factory=list)
    mix: dict[str, dict[str, int]] = field(default_factory=dict)
    split_from: str = ""
    split_off: dict[str, int] = field(default_factory=dict)
    findings: dict[str, dict[str, Any]] = field(default_factory=dict)
    gathered: dict[str, int] = field(default_factory=dict)
    gathered_away: int = 0
    capped_away: int = 0
    grouped_away: int = 0
    sample: dict[str, Any] = field(default_factory=dict)
    inferred_prompts: int = 0
    near_repeats: int = 0
    near_train: int = 0
    diagnosed_away: int = 0

    def reject(self, row: Rejected, file: str) -> None:
        """Count a rejected row."""
        entry = self.rejected.setdefault(row.reason, {"count": 0, "examples": []})
        entry["count"] += 1
        # A broken file may hold a million faulty rows; a few examples suffice, and memory stays bounded.
        example = {"file": file, "row": row.row, "detail": row.detail}
        if len(entry["examples"]) < EXAMPLES:
            entry["examples"].append(example)
        elif row.reason == "no_judgment" and holds_tie([example]) and not holds_tie(entry["examples"]):
            # One tie among the examples: the setting that keeps ties is worth naming.
            entry["examples"][-1] = example

    def ties(self) -> bool:
        """Return True if a row was left out as a tie."""
        entry = self.rejected.get("no_judgment")
        return entry is not None and holds_tie(entry["examples"])

    def unusable(self) -> dict[str, int]:
        """Count rows lost against the user's wish."""
        return unusable(self.rejected, self.findings)

    def report(self, left: Selection) -> dict[str, Any]:
        """Return the report as plain JSON values, with counts of the remaining comparisons.

        Raises:
            StopRequested: the process was asked to stop.
        """
        columns, responses = left.pool.columns, 0
        # Only merged comparisons are read back from disk; the columns count the responses of all others.
        for place in left.names:
            check_stopping()
            responses += len(left[place].responses)
        alone = left.heads[[i for i in range(len(left)) if i not in left.names]] if left.names else left.heads
        responses += int((columns.first_response[alone + 1] - columns.first_response[alone]).sum())
        return {key: getattr(self, key) for key in self.__slots__} | {
            "mixed_away": sum(part["of"] - part["kept"] for part in self.mix.values()),
            "sampled_away": self.sample["of"] - self.sample["kept"],
            "comparisons": len(left),
            "judgments": left.count_judgments(),
            "responses": responses,
            "prompts": len(left.topics()),
        }


def unusable(rejected: dict[str, Any], findings: dict[str, Any]) -> dict[str, int]:
    """Count rows of a split lost by loading, by reason or policy.

    Rows that a setting of the user decides about are not lost: ties, rows left out by a filter, faulty rows under
    `data.faulty = "drop"`, and rows dropped by a policy that the user named or that drops nothing by default.
    """
    rows = {reason: entry["count"] for reason, entry in rejected.items() if reason in REASONS.keys() - ASKED_FOR}
    dropped = {check: f["dropped"] for check, f in findings.items() if f["dropped"] and not f.get("named")}
    return rows | {check: count for check, count in dropped.items() if Data.model_fields[check].default == "drop"}


def describe(report: dict[str, Any]) -> str:
    """Format the report for the screen: a line per split, and a line for everything found, left out or sampled.

    Each line is escaped: names of files, sources and comparisons come from outside.
    """
    lines = []
    for name, split in report["splits"].items():
        if "rows" in split:
            counts = ", ".join(f"{split[key]:,} {key}" for key in ("comparisons", "judgments", "responses", "prompts"))
            origin = f"split from {split['split_from']}" if split["split_from"] else f"{split['rows']:,} rows"
            notes = [*_notes(split), *_too_many(split, report["max_rejected_share"])]
            lines += [f"{'data':<12} {name}: {counts}; {origin}", *(f"{'':<12}   {note}" for note in notes)]
    return "\n".join(map(on_one_line, lines))


def _too_many(split: dict[str, Any], most: float) -> list[str]:
    """Return a warning if a split lost more rows than the settings allow."""
    lost = sum(unusable(split["rejected"], split["findings"]).values())
    if lost <= most * split["rows"]:
        return []
    return [f"{lost:,} rows cannot be used, above data.max_rejected_share = {most}: training stops here"]


def _notes(split: dict[str, Any]) -> list[str]:
    """Describe rows left out, findings and samples of a split, each in a line."""
    notes = [f"{source['path']}: {source['reading']}" for source in split["sources"] if source.get("reading")]
    notes += [
        f"{source['path']}: {source['other_transcripts']:,} prompts look like transcripts of several turns, and are "
        "read as one text; turn them into messages by a function of your own (data.format)"
        for source in split["sources"]
        if source.get("other_transcripts")
    ]
    notes += [
        f"{source['path']}: left out {source['absent_answers']:,} answers that are null, or blank without a number; "
        "the other answers of the row are used"
        for source in split["sources"]
        if source.get("absent_answers")
    ]
    notes += [f"{part}: {n['kept']:,} of {n['of']:,} comparisons" for part, n in split["mix"].items()]
    notes += [f"split off {count:,} for {name}" for name, count in split["split_off"].items()]
    for reason, entry in split["rejected"].items():
        word = "rejected" if reason in REASONS.keys() - ASKED_FOR else "left out"
        named = reason if reason in REASONS else f"faulty ({reason})"
        first = entry["examples"][0]
        tied = KEEPS_TIES if reason == "no_judgment" and holds_tie(entry["examples"]) else ""
        such = f"such as {first['file']}, row {first['row']}{tied}"
        notes.append(f"{word} {entry['count']:,} {named}, {such}")
    for check, finding in split["findings"].items():
        if finding["count"]:
            done = f"{finding['dropped']:,} dropped" if finding["policy"] == "drop" else "kept"
            notes.append(f"found {finding['count']:,} {check}, {done}, such as {finding['examples'][0]}")
    if split["inferred_prompts"]:
        notes.append(
            f"inferred {split['inferred_prompts']:,} prompts from what both texts begin with: pairs of one prompt may "
            "count as several; a prompt column keeps them on one side of a split"
        )
    if split["near_repeats"]:
        notes.append(f"found {split['near_repeats']:,} with the words of an earlier one, kept")
    if split["near_train"]:
        share = split["near_train"] / split["comparisons"]
        notes.append(f"found {split['near_train']:,} ({share:.1%}) with the words of a training prompt, kept")
    if split.get("gathered", {}).get("rows"):
        notes.append(_gathered(split["gathered"]))
    if split["capped_away"]:
        notes.append(f"capped per prompt: {split['capped_away']:,} left out")
    if split["grouped_away"]:
        notes.append(f"grouped by prompt: {split['grouped_away']:,} merged into others")
    if split["sampled_away"]:
        sources = [f"{name} {n['kept']:,} of {n['of']:,}" for name, n in split["sample"]["sources"].items()]
        more = [f"and {len(sources) - SOURCES_SHOWN} more"] if len(sources) > SOURCES_SHOWN else []
        notes.append(f"sample of {split['comparisons']:,}: {', '.join(sources[:SOURCES_SHOWN] + more)}")
    return notes


def _gathered(found: dict[str, int]) -> str:
    """Describe the gathering of judges."""
    opposed = f"{found['opposed']:,} with opposite labels"
    tied = f"; equal votes on {found['tied']:,} pairs left out" if found["tied"] else ""
    return f"gathered {found['rows']:,} judgments into votes on {found['pairs']:,} pairs, {opposed}{tied}"


def quantiles(values: Iterable[int]) -> dict[str, float]:
    """Compute mean, median, 95th percentile and largest of at least one count: {"mean", "p50", "p95", "max"}.

    Percentiles are interpolated linearly between the two nearest counts.
    """
    counts = np.fromiter(values, dtype=np.float64)
    p50, p95 = np.quantile(counts, [0.5, 0.95])
    return {"mean": float(counts.mean()), "p50": float(p50), "p95": float(p95), "max": float(counts.max())}


def histogram(values: Iterable[int], bins: int) -> dict[str, list[int]]:
    """Count values in at most `bins` bins of equal width: {"edges": [B + 1], "counts": [B]}.

    Edges are multiples of the width. The width is the smallest of 1, 2, 5, 10, 20, ... with at most `bins` bins. A bin
    holds the lower edge and not the upper edge. Values are 0 or more; no values give no edges.
    """
    found = np.fromiter(values, dtype=np.int64)
    if not len(found):
        return {"edges": [], "counts": []}
    low, high = int(found.min()), int(found.max())
    width = next(width for width in _round_widths() if high // width - low // width < bins)
    places = found // width - low // width
    counts = np.bincount(places)
    first = low // width * width
    return {"edges": [first + i * width for i in range(len(counts) + 1)], "counts": counts.tolist()}


def sparkline(found: dict[str, list[int]]) -> str:
    """Draw a histogram on a line: the first edge, a bar for each bin (a blank for an empty bin) and the last edge."""
    if not found["counts"]:
        return ""
    most = max(found["counts"])
    # Rounded up, so that even a single value has a visible bar.
    bars = "".join(BARS[(len(BARS) * n - 1) // most] if n else " " for n in found["counts"])
    return f"{found['edges'][0]:,} {bars} {found['edges'][-1]:,}"


def _round_widths() -> Iterator[int]:
    """Iterate over 1, 2, 5, 10, 20, 50, ..."""
    return (step * 10**power for power in count() for step in (1, 2, 5))
