"""Columns that no format reads: texts and messages among them are named, or stop the load.

A column stops the load if its name says that it is a part of the prompt, if it holds turns, or if it holds long free
text. A column whose words stand in the texts that are read anyway is a repetition, and passes. `data.ignore` names the
columns left out on purpose.
"""

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from ...records import Comparison
from ..rows import Row, RowPlace, quoted
from .layout import LONG, words
from .messages import is_message
from .prompts import ABOUT, LONGEST_CHOICE, is_repeated, strings

PARTS = {
    *("system", "input", "context", "history", "conversation", "conversations", "messages", "document", "documents"),
    *(
        "article",
        "passage",
        "image",
        "images",
        "audio",
        "video",
        "videos",
        "question",
        "instruction",
        "query",
        "prompt",
    ),
    *("steps", "prefix", "dialog", "dialogue", "background", "premise", "problem"),
}
"""Words in the name of a column that is part of a prompt."""
FEWEST_BLANKS = 5
"""Fewest blanks of a long text that is free text, and no address, hash or key."""
MOST_NAMED = 12


class Unread:
    """Columns of a file that no format reads.

    Attributes:
        known: columns that are read, or known as no part of a conversation.
        free: columns with long free text, which become no tags.
        seen: columns with text or messages that are not read -> number of rows.
    """

    def __init__(self, known: Iterable[str], remarks: Iterable[str] = ()) -> None:
        """Begin with the columns that are read, and with those known as remarks on the answers."""
        self.known = set(known)
        self.remarks = set(remarks)
        self.free: set[str] = set()
        self.seen: Counter[str] = Counter()

    def look(self, row: Row, result: Comparison) -> list[str]:
        """Count the columns of a row that are not read; return those that must not be lost."""
        lost = []
        read = ""
        for key, value in row.items():
            if key in self.known or value is None or type(value) in (bool, int, float):
                continue
            # Most columns of most rows end here: short texts under names that are no parts of a prompt.
            if type(value) is str and len(value) <= LONG and not _may_be_part(str(key)):
                continue
            key = str(key)
            if key in self.remarks or (key == "source" and not is_free(value)):
                self.free |= {key} if is_free(value) else set()
                continue
            if not value or (isinstance(value, str) and not value.strip()):
                continue
            part = _part(key, value)
            if isinstance(value, str) and not part:
                continue
            read = read or _texts(result)
            if not is_repeated(value, read):
                self.seen[key] += 1
                self.free |= {key} if is_free(value) else set()
                lost += [key] if part and not _renders(value, result) else []
        return lost

    def names(self) -> str:
        """Name the columns with texts that are not read, for the line about the reading."""
        found = [quoted(key, str) for key, _ in self.seen.most_common()]
        more = len(found) - MOST_NAMED
        return ", ".join(found[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def lost_columns(lost: Iterable[str], row: Row, at: RowPlace | None, name: str) -> tuple[str, str]:
    """Return the message and the hint about columns that must not be lost."""
    keys = list(dict.fromkeys(lost))
    found = ", ".join(f"{quoted(key, str)} ({_kind(row.get(key))})" for key in keys[:MOST_NAMED])
    where = f", row {at.row}" if at else ""
    message = f"{name}{where}: {found} would not be read, and may be part of the conversation"
    ignored = ",".join(keys) if not any("," in key for key in keys) else ""
    hint = f"leave out on purpose: --data.ignore {ignored}" if ignored else "leave out on purpose with data.ignore"
    return message, f"{hint}; or put the texts into the prompt: --data.format module:function"


def _kind(value: Any) -> str:
    """Name the kind of a value that is not read."""
    if isinstance(value, str):
        return "text"
    return "messages" if _turns(value) else "list" if isinstance(value, list) else "object"


def _turns(value: Any) -> bool:
    """Return True for a list that begins with a message, and for a message."""
    return is_message(value[0] if isinstance(value, list) and value else value)


def _part(key: str, value: Any) -> bool:
    """Return True for a column that may be part of the conversation."""
    if _turns(value):
        return True
    if isinstance(value, str):
        return is_free(value) or _may_be_part(key)
    return _may_be_part(key) and bool(strings(value) or not isinstance(value, list | dict))


@lru_cache(maxsize=4096)
def _may_be_part(key: str) -> bool:
    """Return True for a name that says that the column is a part of a prompt."""
    parts = set(words((key,)))
    return bool(parts & PARTS and not parts & ABOUT)


def _renders(value: Any, result: Comparison) -> bool:
    """Return True for a text that repeats every answer, such as the prompt of a judge."""
    return isinstance(value, str) and all(
        len(response.text.strip()) >= LONGEST_CHOICE and response.text.strip() in value for response in result.responses
    )


def is_free(value: Any) -> bool:
    """Return True for a long text of words."""
    if not isinstance(value, str) or len(value) <= LONG or value.lstrip()[:1] in ("[", "{"):
        return False
    return value.count(" ") >= FEWEST_BLANKS or not value.isascii()


def _texts(result: Comparison) -> str:
    """Return all texts of a comparison as one text."""
    turns = (*result.prompt, *(turn for response in result.responses for turn in response.messages))
    return "\n".join(turn.content for turn in turns)


def without(row: Row, ignore: Iterable[str]) -> Row:
    """Return the row without the columns left out on purpose; dots reach into objects."""
    for name in ignore:
        row = _without(row, [name] if name in row else name.split("."))
    return row


def _without(row: Row, path: list[str]) -> Row:
    """Return the row without the column at a path; a row without the column is returned as it is."""
    first, *rest = path
    if first not in row:
        return row
    if not rest:
        return {key: value for key, value in row.items() if key != first}
    return {**row, first: _without(row[first], rest)} if isinstance(row[first], dict) else row
