"""Columns of a file of scores: where each row keeps the scores of its responses, and the key of the row."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..common.text import nearest
from ..errors import DataError, UserError
from .rows import LARGEST, Row, RowPlace, names_of, quoted

PARTS = ("id", "chosen", "rejected", "scores", "score", "response", "prompt")
"""Names on the left of `--columns NAME=COLUMN`."""
PAIR_NAMES = ("score", "reward", "scores", "rewards", "rm_score", "logit", "logits")
"""Words that with `chosen` and `rejected` name the scores of a pair, in either order."""
PROMPT_KEYS = ("prompt_key", "prompt_id", "prompt")
"""Columns that tell which rows share a prompt, the best first."""
SIDES = ("chosen", "rejected")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
"""A number as text."""
RECORD = {"id", "prompt_key", "scores", "judgments", "response_tokens"}
"""Keys of a `ScoredComparison` as a line of JSON."""
ADDED = ("score", "scores", "tokens", "truncated", "error", "best", "probabilities", "probability")
"""Fields that `bradley score` adds, under a prefix."""


class ScoreColumns(NamedTuple):
    """Columns of scores in a file.

    Attributes:
        kind: `pair` (a column for each side), `list` (a column with the scores of all responses), `single` (a row for
            each response), or `record` (a `ScoredComparison` a line).
        columns: column by part, see `PARTS`.
        keys: all columns of the file.
    """

    kind: str
    columns: Mapping[str, str]
    keys: Sequence[str] = ()

    @property
    def added(self) -> frozenset[str]:
        """Columns that are no part of the row of data below the scores."""
        kept = {"id", "prompt"}
        names = {column for part, column in self.columns.items() if part not in kept}
        # A file may have been scored several times, each time under another prefix.
        return frozenset(names | {f"{prefix}{name}" for prefix in _prefixes(self.keys) for name in ADDED})

    @property
    def counts(self) -> tuple[str, str]:
        """Columns of tokens and cuts that `bradley score` wrote beside the scores; "" without."""
        column = self.columns.get("scores") or self.columns.get("score") or ""
        prefix = column.removesuffix("scores").removesuffix("score")
        names = (f"{prefix}tokens", f"{prefix}truncated")
        return names if column and set(names) <= set(self.keys) else ("", "")

    def describe(self) -> str:
        """Name the columns on one line."""
        if self.kind == "record":
            return "scored comparisons of bradley"
        return ", ".join(f"{part}={column}" for part, column in self.columns.items())


def parse_columns(text: str) -> dict[str, str]:
    """Parse the value of `--columns`: `chosen=score_a,rejected=score_b`.

    Raises:
        UserError: another form, an unknown part, or a part twice.
    """
    found: dict[str, str] = {}
    for entry in filter(None, (entry.strip() for entry in text.split(","))):
        part, equals, column = (piece.strip() for piece in entry.partition("="))
        if not equals or not column:
            raise UserError(
                f"--columns: {entry} is no NAME=COLUMN", "such as --columns chosen=score_a,rejected=score_b"
            )
        if part not in PARTS:
            close = nearest(part, PARTS, 0.5)
            hint = f"did you mean {close}?" if close else f"known names: {', '.join(PARTS)}"
            raise UserError(f"--columns: {part} is no part of a scored row", hint)
        if part in found:
            raise UserError(f"--columns: {part} is given twice", "name each column once")
        found[part] = column
    return found


def find_columns(rows: Sequence[Row], given: Mapping[str, str], name: str) -> ScoreColumns:
    """Find the columns of scores in the first rows of a file.

    Args:
        rows: the first rows.
        given: columns that the user named.
        name: name of the file in messages.

    Raises:
        DataError: a named column is missing, no column holds scores, or several could.
    """
    keys = list(dict.fromkeys(key for row in rows for key in row))
    if missing := [f"{part}={column}" for part, column in given.items() if column not in keys]:
        raise DataError(f"{name}: no column {', '.join(missing)}", f"the columns are {names_of(keys)}")
    id_column = {} if "id" in given or "id" not in keys else {"id": "id"}
    kind = _given_kind(given)
    if kind:
        return ScoreColumns(kind, {**id_column, **given}, keys)
    if set(keys) >= RECORD:
        return ScoreColumns("record", {})
    pairs = _pairs(keys)
    if len(pairs) > 1:
        shown = " or ".join(f"--columns chosen={chosen},rejected={rejected}" for chosen, rejected in pairs[:3])
        raise DataError(f"{name}: {len(pairs)} pairs of columns could be the scores", f"say which: {shown}")
    if pairs:
        return ScoreColumns("pair", {**id_column, **given, "chosen": pairs[0][0], "rejected": pairs[0][1]}, keys)
    if {"best", "response"} <= {key.removeprefix(prefix) for prefix in _prefixes(keys) for key in keys}:
        hint = "score again without --best-of"
        raise DataError(f"{name}: the rows hold the best response and its score alone", hint)
    lists = [key for key in keys if key.endswith("scores") and isinstance(_first(rows, key), list)]
    singles = [key for key in keys if key.endswith("score") and not isinstance(_first(rows, key), list)]
    for kind, found in (("list", lists), ("single", singles)):
        if len(found) > 1:
            part = "scores" if kind == "list" else "score"
            shown = " or ".join(f"--columns {part}={key}" for key in found[:3])
            raise DataError(f"{name}: {len(found)} columns could be the scores", f"say which: {shown}")
        if found:
            response = {"response": "response"} if kind == "single" and "response" in keys else {}
            part = {"list": "scores", "single": "score"}[kind]
            return ScoreColumns(kind, {**id_column, **response, **given, part: found[0]}, keys)
    hint = "name them: --columns chosen=COLUMN,rejected=COLUMN, or --columns score=COLUMN for a response a row"
    raise DataError(f"{name}: no column of scores among {names_of(keys)}", hint)


def number_of(value: Any, column: str, at: RowPlace) -> float | None:
    """Return a score; None for null and NaN.

    Raises:
        DataError: the value is no finite number.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        if value.strip().lower() == "nan":
            return None
        # Python would read 1_000 and digits of other scripts too, which no tool means.
        if not NUMBER.fullmatch(value.strip()):
            raise at.fault(f"{quoted(value)} as {column}", "a number")
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST < value < LARGEST:
        raise at.fault(f"{quoted(value)} as {column}", f"a number between -{LARGEST:g} and {LARGEST:g}")
    return float(value)


def _given_kind(given: Mapping[str, str]) -> str:
    """Kind of the columns that the user named; "" if none holds scores.

    Raises:
        UserError: columns of two kinds, or one side alone.
    """
    kinds = [("pair", set(SIDES)), ("list", {"scores"}), ("single", {"score"})]
    found = [kind for kind, parts in kinds if parts & set(given)]
    if len(found) > 1:
        raise UserError("--columns names scores in two ways", "give chosen and rejected, or scores, or score")
    if found == ["pair"] and not set(SIDES) <= set(given):
        absent = next(side for side in SIDES if side not in given)
        raise UserError(f"--columns names no scores of the {absent} responses", f"add {absent}=COLUMN")
    return found[0] if found else ""


def _pairs(keys: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of columns named after chosen and rejected and a word for scores."""
    words = "|".join(PAIR_NAMES)
    found = []
    for key in keys:
        match = re.fullmatch(rf"(?:({words})[_-]chosen|chosen[_-]({words}))", key)
        other = key.replace("chosen", "rejected")
        if match and other in keys:
            found.append((key, other))
    return found


def _first(rows: Sequence[Row], key: str) -> Any:
    return next((row[key] for row in rows if row.get(key) is not None), None)


def _prefixes(keys: Sequence[str]) -> list[str]:
    """Prefixes under which `bradley score` has added fields."""
    return [key.removesuffix("truncated") for key in keys if key.endswith("truncated")]
