"""Checks of the columns beside the judgment, for each way in which a file names the better answer."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..rows import Row
from .agreement import Beside
from .labels import Answers, Label
from .layout import Path, words
from .meanings import LISTED, PAIRED, REFERENCE

SIDES = {
    "shp": Answers((("human_ref_A",), ("human_ref_B",)), ("a", "b"), ("human", "ref"), 2, ()),
    "helpsteer2": Answers((("response_1",), ("response_2",)), ("1", "2"), ("response",), 2, ()),
    "helpsteer3": Answers((("response1",), ("response2",)), ("1", "2"), ("response",), 2, ()),
    "multipref": Answers((("completion_a",), ("completion_b",)), ("a", "b"), ("completion",), 2, ()),
    "votes": Answers((("response_a",), ("response_b",)), ("a", "b"), ("response",), 2, ()),
    "tldr": LISTED,
    "ranked": LISTED,
    "ultrafeedback": LISTED,
}
"""Format of fixed columns -> names of the answers; a format of chosen and rejected is not among the keys."""
ENTRIES = {"tldr": "summaries", "ranked": "completions", "ultrafeedback": "completions"}
"""Format of fixed columns -> column with a list of objects, one for each answer."""
COUNTED = {"votes", "multipref"}
"""Formats beside which a number under the name of a tie may count votes."""

STRENGTHS = {"helpsteer2", "helpsteer3"}
"""Formats of which the strength 0 is a tie: a winner beside says otherwise."""


def beside_fixed(format: str, keys: Collection[str], rows: Sequence[Row] = ()) -> Beside:
    """Return the check of the columns beside a format of fixed columns.

    Args:
        keys: columns read by the format, or known to say nothing; dots reach into objects.
        rows: first rows.
    """
    named_so = format == "votes" and any("chosen" in row for row in rows)
    answers = PAIRED if named_so else SIDES.get(format, PAIRED)
    entries = ENTRIES.get(format, "")
    used = {tuple(key.split(".")) for key in keys}
    # The list itself is read, and the truth values inside are looked at.
    known = used if not entries else {*used, *((entries, key) for key in ("content", "response", "text"))}
    return Beside(answers, known, entries=entries, counted=format in COUNTED, ties=format in STRENGTHS)


def beside_names(given: Answers, better: int, used: Collection[Path], *, strict: bool) -> Beside:
    """Return the check of the columns beside two answers of which one is the better by its name, or as the user says.

    Args:
        given: names of the answers.
        better: place of the better answer.
        used: columns that are read or known.
        strict: True if no name says which answer is better, so that columns of every name are looked at.
    """
    first, second = (set(words(name)) for name in given.names)
    own = given.marks
    if not own and len(first - second) == len(second - first) == 1:
        own = ((first - second).pop(), (second - first).pop())
    answers = given._replace(marks=own, better=better)
    return Beside(answers, {*used, *given.names, *given.paths}, strict=strict)


def beside_label(
    answers: Answers,
    used: Collection[Path],
    columns: Mapping[Path, Sequence[Any]],
    others: Sequence[Label] = (),
) -> Beside:
    """Return the check of the columns that begin after the first rows, beside a label that was found.

    Beside three or more answers, columns of the first rows that name the best or the worst answer are checked as well.

    Args:
        used: columns that are read.
        columns: columns of the first rows, of which those with a value are known.
        others: columns of the first rows that may be labels, and are not read.
    """
    known = {path for path, values in columns.items() if any(value not in (None, "", []) for value in values)}
    several = len(answers.names) > 2 or not answers.names
    # A label that names answers by values of their own is no place.
    choices = (path for label in others if several and label.kind == "choice" and not label.own for path in label.paths)
    # The right answer to a question is no judgment of the answers.
    checked = {path for path in choices if not set(words(path)) & (REFERENCE | {"correct", "right", "true", "truth"})}
    readable = {label.paths[0] for label in others if label.read and len(label.paths) == 1}
    names = answers if answers.names else LISTED
    found = Beside(names, {*used, *(known - checked)}, late=True, readable=readable)
    found.listed = answers.paths[0] if len(answers.paths) == 1 else ()
    return found
