"""Columns that take the judgment of some rows back: exchanged answers, rows that do not count, questions for the worse.

The label of such a file may name the answers as they were shown, belong to a row that was thrown out, or answer the
question which answer is the worse.
"""

import itertools
from collections import Counter
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

from ..rows import Row
from .base import FUNCTION, Refused, option
from .labels import values_of
from .layout import LONG, WORD, Layout, Path, covered, named, words
from .places import AS_NAMED, letters_of, says_order
from .weights import check_weights
from .words import AGAINST, AGREES, DISAGREES, FAULTS, LOSER, NOT, REMARKS, TURNED, is_empty, is_open, truth_in

ALWAYS = "if the names of the answers hold in every row"
"""Condition for leaving such a column out beside answers that are read by their names."""
AS_COLUMNS = "if the label names the answers as the columns do"
"""Condition for leaving such a column out beside a label."""
NOISE = {"noise", "noisy", "corrupted", "corrupt"}
"""Words in the name of a truth value that says that the label of a row was made wrong."""
SIGNS = {"sign", "polarity", "direction", "orientation"}
"""Words in the name of a number that turns the judgment round below zero."""
SKIPPED = {
    *("discarded", "discard", "draft", "pending", "cancelled", "canceled", "skipped", "rejected", "invalid", "deleted"),
    *("excluded", "removed", "failed", "spam", "ignored", "declined", "expired", "withdrawn", "disputed"),
    *("void", "voided", "superseded", "test", "retracted", "incomplete", "denied", "dropped", "unapproved", "obsolete"),
}
"""Words for the state of an annotation, or of a row, that does not count."""
FLAGS = {"deleted", "discarded", "invalid", "excluded", "flagged", "valid", "approved", "usable", "verified"}
BESIDE_FLAG = {
    *("is", "was", "are", "were", "has", "been", "be", "the", "row", "label", "labels", "answer", "answers", "pair"),
    *("response", "responses", "sides", "side", "order", "position", "positions", "flag", "annotation"),
}
"""Words in the name of a column that means a truth value, such as is_deleted."""
REASONS = {"reason", "reasons"}
STATES = {"status", "state", "approval"}
OUT = {"deleted", "discard", "discarded", "invalid", "cancelled", "canceled", "skipped", "spam", "ignored", "ignore"}
OUT_OR_WORSE = {"rejected", "removed", "excluded", "eliminated", "dropped"}
"""Words that leave an annotation out if they are true; under the second ones, a number may be the worse answer."""
IN = {"valid", "approved", "passed", "pass", "accepted", "usable", "verified", "trusted", "include", "included", "ok"}
"""Words that leave an annotation out if they are false."""
OUT_ALONE = {
    "drop",
    "skip",
    "filtered",
    "bad",
    "failed",
    "retracted",
    "incomplete",
    "void",
    "voided",
    "superseded",
    "junk",
}
IN_ALONE = {"keep", "kept", "use", "submitted"}
BESIDE_ALONE = {
    *("is", "was", "be", "to", "should", "row", "example", "sample", "item", "record", "annotation", "pair", "out"),
    *("attention", "check", "low", "quality"),
}
"""Words that leave a row out if they are true, or false, and mean so in a name without other words alone."""
WHY_OUT = {
    *("reject", "rejection", "exclude", "exclusion", "drop", "discard", "skip", "removal", "remove", "filter"),
    *("filtered", "disqualification", "deletion"),
}
"""Words in the name of the reason for which a row was thrown out; rejected is an answer."""
DOUBTED = {"flagged", "exclude", "remove", "delete", "unusable", "disqualified"}
"""Words that, if they are true, say that somebody doubts the row."""
CHECKED = {"check", "checks", "review", "reviewed", "qa", "qc", "audit", "validation", "verification", "screening"}
"""Words in the name of a column with the result of a check of the row."""
FAILED = SKIPPED | {"fail", "fails", "failure", "incorrect", "wrong", "bad", "no", "false", "reject", "flagged", "flag"}
"""Results of a check by which a row does not count."""
ASKED = {"criterion", "criteria", "aspect", "dimension", "metric", "facet", "attribute", "rubric", "trait"}
"""Words in the name of a column with the quality by which the answers were compared."""
QUESTIONS = ASKED | {
    *("question", "task", "direction", "objective", "asked", "goal", "instruction", "instructions", "target"),
}
"""Words in the name of a column that may say what the judge was asked for."""
FOR_WORSE = (LOSER - {"rejected", "lost"}) | {
    *("lower", "lowest", "least", "less", "weaker", "weakest", "poorer", "poorest", "inferior", "minimize", "minimise"),
}
"""Words of a question for the worse answer."""
NO_FAULT = NOT | AGAINST | {"free", "absence", "lack", "avoids", "avoiding", "avoidance", "fewer", "harmlessness"}
"""Words by which a quality is the absence of a fault."""
NOTED = {"flag", "flags", "quality", "note", "notes", "remark", "remarks", "comment", "comments", "bemerkung", "notiz"}
NOTED_ELSEWHERE = (
    "\u5907\u6ce8",
    "\u6807\u8bb0",
    "\u72b6\u6001",
    "\u8d28\u91cf",
    "\u5ba1\u6838",
    "\u6ce8\u91ca",
    "\u5099\u8003",
)
"""Words, and parts of Chinese and Japanese names, of a column with a flag or a note about the row."""
THROWN_OUT = (SKIPPED - {"draft", "pending", "failed", "test", "incomplete"}) | {
    *(
        "ignore",
        "exclude",
        "delete",
        "remove",
        "skip",
        "drop",
        "unusable",
        "junk",
        "garbage",
        "disregard",
        "discarding",
    ),
}
"""Words of a flag or a note by which a row does not count."""
BESIDE_THROWN = {
    *("this", "the", "row", "rows", "please", "example", "sample", "item", "pair", "record", "annotation", "label"),
    *("is", "was", "to", "be", "should", "must", "as", "it", "entry", "marked", "flagged"),
}
THROWN_OUT_ELSEWHERE = {
    *(
        "\u4f5c\u5e9f",
        "\u65e0\u6548",
        "\u5e9f\u5f03",
        "\u4e22\u5f03",
        "\u5220\u9664",
        "\u7121\u52b9",
        "\u524a\u9664",
        "\u4e0d\u5408\u683c",
    ),
    *(
        "ung\u00fcltig",
        "verworfen",
        "verwerfen",
        "gel\u00f6scht",
        "invalide",
        "annul\u00e9",
        "inv\u00e1lido",
        "descartado",
        "anulado",
    ),
}
"""Whole cells in other languages by which a row does not count."""
EXCHANGED = {"label", "labels", "answer", "answers", "response", "responses", "side", "sides", "chosen", "rejected"}
"""Words for what a note says was exchanged."""
CONTROL = ({"test", "question"}, {"gold", "question"}, {"trap", "question"}, {"control", "question"}, {"honeypot"})
"""Words in the name of a truth value by which a row tests the annotator."""
SIDES = {"chosen", "rejected"}
MOST_ASKED = 400
"""Most characters of a text that may say what was asked."""
FEW = 6
"""Most different values of a column that says something of the judgments."""
MOST_CRITERIA = 12
"""Most different values of a column with the quality by which answers were compared."""


def check_turned(layout: Layout, used: set[Path], condition: str, *, late: bool = False) -> None:
    """Raise `Refused` for a column that says that the answers of some rows were exchanged, or that takes rows back.

    Args:
        used: columns that are read.
        condition: words for the case in which the column may be left out.
        late: True for rows after the first ones, which had no such value.
    """
    for path, column in layout.columns.items():
        values = [value for value in column if value is not None and value not in ("", [])]
        if covered(path, used) or not (_is_turned(path, values) or says_order(path, values, late=late)):
            continue
        shown = values_of(Counter(map(str, values)))
        raise Refused(
            f"{named(path)} may say that the two answers were exchanged: {shown}",
            f"{condition}: {option('ignore', named(path))}; or use {FUNCTION}",
        )
    check_counted(layout, used, late=late)


def check_counted(layout: Layout, used: set[Path], *, late: bool = False) -> None:
    """Raise `Refused` for a column by which rows do not count, or by which the judge was asked for the worse answer.

    Args:
        used: columns that are read.
        late: True for rows after the first ones, which had no such value.
    """
    check_weights(layout, used)
    for path, column in layout.columns.items():
        if covered(path, used) or not column:
            continue
        cells = [each for value in column for each in _entries(path, value)]
        short = [value for value in cells if isinstance(value, str | int | float) and value != ""]
        short = [value for value in short if not isinstance(value, str) or len(value) <= MOST_ASKED]
        if not short:
            continue
        if any(is_open_flag(path, value) for value in short):
            raise Refused(
                f"{named(path)} may take rows back, and holds more than yes and no: {_told(short)}",
                f"if every row counts as it stands: {option('ignore', named(path))}; or use {FUNCTION}",
            )
        _check_exchanged(path, short)
        out = sum(any(taken_out(path, each) for each in _entries(path, value) if each in short) for value in column)
        if out and (late or out < len(column)):
            raise _not_counted(path, short)
        if asked := _asked(path, short, late):
            raise Refused(
                f"{named(path)} {asked}: {_told(short)}",
                f"if every judgment is about the better answer: {option('ignore', named(path))}; or use {FUNCTION}",
            )


def check_notes(row: Row, used: Collection[Path]) -> None:
    """Raise `Refused` for a flag or a note by which a row does not count, or by which its answers were exchanged.

    Notes differ from row to row, so every row is checked.

    Args:
        used: columns that are read.
    """
    for key, value in row.items():
        if not value or not isinstance(value, str | list) or not is_noted(key) or (key,) in used:
            continue
        notes = [each for each in _entries((key,), value) if isinstance(each, str) and len(each) <= LONG]
        _check_exchanged((key,), notes)
        if any(map(_throws_out, notes)):
            raise _not_counted((key,), notes)


def _check_exchanged(path: Path, values: Sequence[Any]) -> None:
    """Raise `Refused` for notes that say that labels, answers or sides were exchanged."""
    if turned := [value for value in values if _says_turned(path, value)]:
        raise Refused(
            f"{named(path)} says that the two answers were exchanged: {_told(turned)}",
            f"if every judgment holds as it stands: {option('ignore', named(path))}; or use {FUNCTION}",
        )


def _not_counted(path: Path, values: Sequence[Any]) -> Refused:
    """Return the error for a column by which rows do not count."""
    return Refused(
        f"{named(path)} may say that rows do not count: {_told(values)}",
        f"leave such rows out in {FUNCTION}; or, if every row counts: {option('ignore', named(path))}",
    )


def _told(values: Sequence[Any]) -> str:
    """List the values of a column with their counts."""
    return values_of(Counter(str(value) for value in values))


def left_out(name: Path, value: Any) -> bool:
    """Return True for a field by which an annotation does not count."""
    parts, truth = set(words(name)), truth_of(value)
    if parts & STATES and isinstance(value, str) and value.strip().lower() in SKIPPED:
        return True
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if truth and (parts & OUT or (parts & OUT_OR_WORSE and not number)):
        return True
    if truth is not None and parts <= (IN_ALONE if not truth else OUT_ALONE) | BESIDE_ALONE:
        return bool(parts & (OUT_ALONE | IN_ALONE)) or (truth and parts >= {"low", "quality"})
    return truth is False and bool(parts & IN)


def taken_out(path: Path, value: Any) -> bool:
    """Return True for a value by which a row does not count, or by which a reviewer does not agree."""
    parts = set(words(path[-1:]))
    # The words of the two sides themselves, as in rejected_model, say nothing of the row.
    if not parts & SIDES and left_out(path[-1:], value):
        return True
    if parts & WHY_OUT and parts & REASONS and isinstance(value, str) and not is_empty(value):
        return True
    if is_noted(path[-1]) and isinstance(value, str) and _throws_out(value):
        return True
    truth = truth_of(value)
    if truth and (parts & (DOUBTED | DISAGREES) or any(said <= parts for said in CONTROL)):
        return True
    if truth is False and parts & AGREES:
        return True
    word = value.strip().lower() if isinstance(value, str) else ""
    denied = "not" in words((word,)) and bool(set(words((word,))) & IN)
    # Under the name of a check the letter f is a grade, beside other letters.
    failed = truth is False and word != "f" and bool(parts & CHECKED)
    return bool(parts & (CHECKED | STATES)) and (word in FAILED or denied or failed)


def _entries(path: Path, value: Any) -> list[Any]:
    """Return the flags of a list under the name of flags or notes, and any other value alone."""
    return value if isinstance(value, list) and is_noted(path[-1]) else [value]


@lru_cache(maxsize=4096)
def is_noted(key: str) -> bool:
    """Return True for the name of a column with a flag or a note about the row."""
    return bool(set(words((key,))) & NOTED) or any(word in key for word in NOTED_ELSEWHERE)


def _throws_out(text: str) -> bool:
    """Return True for a flag or a note that says no more than that the row does not count."""
    said = set(words((text,)))
    alone = bool(said & THROWN_OUT) and said <= THROWN_OUT | BESIDE_THROWN
    unused = said >= {"not", "use"} and said <= {"do", "not", "use"} | BESIDE_THROWN
    return alone or unused or text.strip(" .!").lower() in THROWN_OUT_ELSEWHERE


def _says_turned(path: Path, value: Any) -> bool:
    """Return True for a short note that says that labels, answers or sides were exchanged."""
    if not isinstance(value, str) or len(value) > LONG or not is_noted(path[-1]):
        return False
    said = set(words((value,)))
    return bool(said & TURNED and said & EXCHANGED) and not said & (NOT | AGAINST)


def is_open_flag(path: Path, value: Any, flags: Collection[str] = FLAGS) -> bool:
    """Return True for a cell that is neither yes nor no, under a name that asks for one of the two."""
    parts = set(words(path[-1:]))
    return bool(parts & set(flags)) and parts <= {*flags, *BESIDE_FLAG} and is_open(value)


def truth_of(value: Any) -> bool | None:
    """Return the truth value of a filled field; None for anything else."""
    return truth_in(value) if isinstance(value, str | bool | int | float) and value != "" else None


def _asked(path: Path, values: Sequence[Any], late: bool) -> str:
    """Say that the judge was asked for the worse answer, or for several qualities; "" for neither."""
    parts = set(words(path[-1:]))
    texts = [value for value in values if isinstance(value, str)]
    different = len(set(texts))
    # Texts that rarely repeat are questions of the rows themselves.
    few = late or different == 1 or different * 2 <= len(texts)
    if not parts & QUESTIONS or parts & REMARKS or not texts or not few or different > MOST_CRITERIA:
        return ""
    if any(FOR_WORSE & {word.lower() for word in WORD.findall(text)} for text in texts):
        return "may ask for the worse answer"
    labels = all(len(text) <= LONG for text in texts)
    if any(_names_fault(text, bool(parts & ASKED) and labels) for text in texts):
        return "may ask for the worse answer"
    return "says that answers were compared by several qualities" if parts & ASKED and labels and different > 1 else ""


def _names_fault(text: str, quality: bool) -> bool:
    """Return True for a text that asks for more of a fault, such as "more harmful".

    Args:
        quality: True for the name of a quality, of which a fault alone is enough.
    """
    parts = [word.lower() for word in WORD.findall(text)]
    if set(parts) & NO_FAULT:
        return False
    more = any(one in ("more", "most") and other in FAULTS for one, other in itertools.pairwise(parts))
    return more or (quality and bool(set(parts) & FAULTS))


def _is_turned(path: Path, values: Sequence[Any]) -> bool:
    """Return True for a name such as swapped with a value that is true, and for a value such as swapped."""
    if not all(isinstance(value, str | int | float) and len(str(value)) <= LONG for value in values):
        return False
    parts = set(words(path))
    if parts & (TURNED | NOISE) and any(map(truth_in, values)):
        return True
    if any(is_open_flag(path, value, TURNED) and letters_of(value) not in AS_NAMED for value in values):
        return True
    if parts & SIGNS and any(isinstance(value, int | float) and value < 0 for value in values):
        return True
    texts = {value for value in values if isinstance(value, str)}
    return 0 < len(texts) <= FEW and any(
        set(said) <= TURNED | {"label", "labels", "answers", "order", "was", "is"} and TURNED & set(said)
        for said in (words((text,)) for text in texts)
    )
