"""Reading of a file: the format and the columns chosen once from the first rows, and the rule in words."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from ..rows import Row, quoted
from .agreement import Beside
from .base import Format
from .layout import Path
from .unread import Unread
from .watch import Watch

MOST_SHOWN = 8
"""Most different labels shown with their counts."""


@dataclass
class Reading:
    """Format of a file's rows, with all that was counted while the rows were read.

    Attributes:
        format: key of `FORMATS`, or "comparison" for comparisons among which each dict has a format of its own.
        shape: conversion of a row.
        rule: columns of the prompt, the answers and the label, in words; "" for a format of fixed columns.
        beside: other columns that may be labels, in words.
        label: returns the label of a row, as shown on the screen.
        counts: label -> number of rows.
        unread: columns that are not read.
        answers: columns with the answers; empty for a format of fixed columns.
        watch: checks that later rows hold no label that the first rows did not show; None if all labels are read.
        renamed: new name of a column -> name in the file, as the user gave the names.
        against: check that the columns beside the judgment agree with the judgment; None for no check.
        left_out: columns left out on purpose that hold the verdicts of a judge, in words.
    """

    format: str
    shape: Format | None
    rule: str = ""
    beside: str = ""
    label: Callable[[Row], str] = field(default=lambda row: "")
    counts: Counter[str] = field(default_factory=Counter)
    unread: Unread = field(default_factory=lambda: Unread(()))
    answers: tuple[Path, ...] = ()
    watch: Watch | None = None
    renamed: dict[str, str] = field(default_factory=dict)
    against: Beside | None = None
    left_out: str = ""

    def count(self, row: Row) -> None:
        """Count the label of a row."""
        if shown := self.label(row):
            # A label of model names has many values; the counts of the rest would fill the screen and the memory.
            self.counts[shown if shown in self.counts or len(self.counts) < MOST_SHOWN else "other"] += 1

    def describe(self) -> str:
        """Return rule, counts of labels, renamed columns, and columns that are not read, on one line; "" for nothing.

        Example: `prompt <- instruction + input, answers <- output_1, output_2, better <- label (1: 12, 2: 9)`
        """
        counts = ", ".join(f"{label}: {count:,}" for label, count in sorted(self.counts.items()))
        parts = [
            f"{self.rule} ({counts})" if counts and self.rule else self.rule,
            self._by_hand(),
            self.beside,
            self.against.counted_from() if self.against else "",
            self.against.says_equal() if self.against else "",
            self.left_out,
        ]
        names = self.unread.names()
        return "; ".join(part for part in (*parts, f"not read: {names}" if names else "") if part)

    def _by_hand(self) -> str:
        """Return the names that the user gave to columns, as `new <- old`; "" for none."""
        # The rule of answers and a label names these columns as the file does.
        said = {"chosen", "rejected", "label"} if self.format == "labelled" else set()
        pairs = [(new, old) for new, old in self.renamed.items() if new != old and new not in said]
        names = ", ".join(f"{quoted(new, str)} <- {quoted(old, str)}" for new, old in pairs)
        return f"data.columns: {names}" if names else ""
