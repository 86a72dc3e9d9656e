"""Judges of a command that ended with 0: the result must be the one on undamaged inputs, or say what is damaged."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.fuzz.case import Ended
from tests.fuzz.good import Good, believed, hashes, page_of, rows_of

Judge = Callable[[Ended, Path], list[str]]
NEAR = 1e-5
"""Largest difference of scores of the same weights in batches of other sizes, as `verify` allows."""


def difference(found: Any, wanted: Any, where: str = "") -> str:
    """Name the first place at which two JSON values differ, or ""; scores may be rounded apart by `NEAR`."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        pairs: list[tuple[Any, Any, Any]] = [
            (key, found.get(key), wanted.get(key)) for key in sorted({*found, *wanted}, key=str)
        ]
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        pairs = [(place, *both) for place, both in enumerate(zip(found, wanted, strict=True))]
    elif isinstance(found, float) and isinstance(wanted, float) and abs(found - wanted) <= NEAR * max(1, abs(wanted)):
        return ""
    else:
        return "" if found == wanted else f"{where} is {str(found)[:80]!r}, wanted {str(wanted)[:80]!r}"
    return next(filter(None, (difference(a, b, f"{where}.{key}") for key, a, b in pairs)), "")


def same(name: str, wanted: Any, read: Callable[[Ended, Path], Any]) -> Judge:
    """Judge a result by the undamaged one; a result that cannot be read is a complaint too."""

    def judge(ended: Ended, world: Path) -> list[str]:
        try:
            found = read(ended, world)
        except Exception as error:
            return [f"{name} cannot be read: {type(error).__name__}: {str(error)[:200]}"]
        place = difference(found, wanted, name)
        return [place] if place else []

    return judge


def same_scores(wanted: Sequence[Any]) -> Judge:
    """Judge rows on stdout."""
    return same("scores", list(wanted), lambda ended, _world: rows_of(ended.out))


def same_run(good: Good, place: str) -> Judge:
    """Judge results, state and model of a run folder below the world."""
    return same("run", good.reference["run"], run_at(place))


def run_at(place: str) -> Callable[[Ended, Path], Any]:
    """Make a reader of results, state and model of a run folder below the world."""
    return lambda _ended, world: believed(world / place)


def same_export(good: Good, place: str) -> Judge:
    """Judge the files of an exported folder below the world."""
    return same("export", good.reference["export"], lambda _ended, world: hashes(world / place))


def same_file(wanted: Sequence[Any], place: str) -> Judge:
    """Judge a file of scored rows below the world."""
    return same("rows", list(wanted), lambda _ended, world: rows_of((world / place).read_bytes()))


def same_page(good: Good, place: str, damaged: str) -> Judge:
    """Judge a report: as the undamaged one, or the command named the damaged file."""

    def judge(ended: Ended, world: Path) -> list[str]:
        named = damaged.encode() in ended.err
        page = page_of(world / place)
        return [] if named or page == good.reference["page"] else [f"the page differs, and {damaged} is not named"]

    return judge


def counted(total: int, most_used: int) -> Judge:
    """Judge `bradley data --json`: every row is counted, and no more than `most_used` became comparisons.

    Args:
        total: rows of the file.
        most_used: rows without a value that cannot be right.
    """

    def judge(ended: Ended, _world: Path) -> list[str]:
        split = json.loads(ended.out)["report"]["splits"]["train"]
        found = [] if split["rows"] == total else [f"{split['rows']} rows counted, {total} are in the file"]
        used = split["comparisons"]
        return found + ([f"{used} rows used, {most_used} of them can be right"] if used > most_used else [])

    return judge


def scored_but(wanted: Sequence[Any], bad: set[int], bad_must_fail: bool) -> Judge:
    """Judge scored rows of a file in which the rows `bad` were changed: the others have their scores, none is lost.

    Args:
        bad_must_fail: True if the changed rows cannot be right, and must stand there without a score.
    """

    def judge(ended: Ended, _world: Path) -> list[str]:
        rows = rows_of(ended.out)
        if len(rows) != len(wanted):
            return [f"{len(rows)} rows came out, {len(wanted)} went in"]
        found = [
            difference(row, right, f"row {place}")
            for place, (row, right) in enumerate(zip(rows, wanted, strict=True))
            if place not in bad
        ]
        if bad_must_fail:
            found += [f"row {place} has a score" for place in sorted(bad) if "error" not in rows[place]]
        return [each for each in found if each][:3]

    return judge
