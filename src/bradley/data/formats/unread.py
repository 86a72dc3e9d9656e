"""Texts that no format reads, at any depth of a row: a possible part of the conversation stops the load.

A text stops the load if a name above the text says that the text is a part of the prompt, if the text is long and free,
or if the text is a turn. Short texts that differ from row to row stop the load under the name of an input, such as
sentence, and are named under another name that is no label's. A text passes that the prompt holds, that every answer
holds, or that is an answer: the model reads such a text.
`data.ignore` names the columns left out on purpose, with dots for columns inside objects and lists of objects.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ...records import Comparison
from ..rows import Row, RowPlace, quoted
from .base import option
from .instructions import instructs, is_instruction, may_instruct, orders
from .layout import LONG, Path, at_path, is_digest, words
from .messages import BESIDE, CALLS, WHAT, WHO, are_parts, text_of_parts
from .parts import (
    differs,
    is_sentence,
    may_be_answered,
    may_be_input,
    may_be_part,
    may_be_words,
    may_hold_words,
    named_part,
    names_language,
)
from .prompts import CERTAIN_QUESTION
from .texts import Told, are_attached, are_turns, held_in, is_filled, is_free, is_turn, kind_of, repeats_answers
from .turns import EXTRA

MOST_NAMED = 12
PLAIN = ({"role", "content"}, {"from", "value"})
"""Keys of messages that hold nothing else."""


class Found(NamedTuple):
    """Text or list that is not read at its place.

    Attributes:
        path: names of the column, the outermost first.
        value: text, messages, or a list of texts.
        whole: value of the column that is named.
        part: True for a possible part of the conversation; False for a list that is named, and stops nothing.
        name: innermost name above the value.
        second: True for a text beside the text of an answer, which the model reads if any answer holds the text.
    """

    path: Path
    value: Any
    whole: Any
    part: bool = True
    name: str = ""
    second: bool = False


class Unread:
    """Columns of a file that no format reads.

    Attributes:
        known: names of outermost columns that are read, or known as no part of a conversation.
        remarks: columns known as remarks on the answers, with dots for columns inside objects.
        free: columns with long free text, which become no tags.
        seen: columns with text or messages that are not read -> number of rows.
    """

    def __init__(
        self,
        known: Iterable[str],
        remarks: Iterable[str] = (),
        paths: Iterable[Path] = (),
        labels: Iterable[Path] = (),
    ) -> None:
        """Begin with the columns that are read.

        Args:
            known: names of outermost columns.
            remarks: columns of remarks on the answers.
            paths: columns inside objects of which the text is read; a known column without such a path is read whole.
            labels: columns of labels, in which long texts are remarks.
        """
        self.known = set(known)
        self.remarks = set(remarks)
        self.free: set[str] = set()
        self.seen: Counter[str] = Counter()
        inner = [path for path in paths if len(path) > 1]
        self._holders = {path[:length] for path in inner for length in range(1, len(path))}
        self._read = {*inner, *((key,) for key in self.known)} - self._holders
        self._labels = set(labels)
        self._steady: set[str] = set()
        self._texts: set[str] = set()
        self._orders: set[str] = set()
        self._seconds: set[Path] = set()
        self._beside: set[Path] = set()

    def compare(self, rows: Iterable[Row]) -> None:
        """Tell labels from other short texts by the first rows: texts differ from row to row, and labels repeat."""
        columns: dict[str, list[str]] = {}
        for row in rows:
            for key, value in row.items():
                if isinstance(value, str) and value.strip() and key not in self.known and not is_digest(value):
                    columns.setdefault(str(key), []).append(value.strip())
        for key, values in columns.items():
            sentences = sum(map(is_sentence, values))
            if may_hold_words(key) and orders(key, values):
                self._orders.add(key)
            if names_language(key):
                self._texts.add(key)
            elif not differs(values) and 2 * sentences <= len(values):
                self._steady.add(key)
            elif differs(values) and may_be_words(key, values):
                self._texts.add(key)
            if differs(values) and may_be_answered(key, inside=False):
                self._seconds.add((key,))
        for path, values in self._inner_texts(rows).items():
            if differs(values) and may_be_answered(path[-1], inside=True):
                self._seconds.add(path)
            elif differs(values) and may_be_words(path[-1], values):
                self._beside.add(path)

    def _inner_texts(self, rows: Iterable[Row]) -> dict[Path, list[str]]:
        """Return the texts inside the objects of columns that are read, such as the objects of answers."""
        found: dict[Path, list[str]] = {}
        paths = [path for path in self._read if path not in self._labels]
        for row, path in itertools.product(rows, paths):
            value = at_path(row, path)
            for entry in value if isinstance(value, list) else [value]:
                for key, inner in entry.items() if isinstance(entry, dict) and not is_turn(entry) else ():
                    if isinstance(inner, str) and inner.strip() and not is_digest(inner):
                        found.setdefault((*path, str(key)), []).append(inner.strip())
        return found

    def _is_label(self, key: str, value: str) -> bool:
        """Return True for a short text that is no part of a prompt, no input, and no text to be named."""
        return not may_be_part(key) and key not in self._texts and not self._is_input(key, value)

    def _is_input(self, key: str, value: str) -> bool:
        """Return True for a short text under the name of an input: a sentence, or a text that differs.

        Instructions are inputs under names such as suffix and style, and under any name if most of the values are.
        """
        if (key,) in self._seconds:
            return True
        if (may_instruct(key) and instructs(key, value)) or (key in self._orders and is_instruction(value)):
            return True
        if not value.strip() or not may_be_input(key) or key in self._steady:
            return False
        # The source of a row repeats, however many words a source has.
        return key in self._texts or (key != "source" and is_sentence(value))

    def _is_origin(self, value: Any) -> bool:
        """Return True for the origin of a row, in a short text or several; texts that differ are an input."""
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or any(not isinstance(text, str) or is_free(text) for text in texts):
            return False
        return not (isinstance(value, str) and self._is_input("source", value))

    def look(self, row: Row, result: Comparison, *, inside: bool = True) -> dict[str, str]:
        """Count the columns of a row that are not read.

        Args:
            inside: False to leave out the columns that are read, in which texts of answers with faults are unread.

        Returns:
            The columns that must not be lost, with the kind of each.
        """
        lost: dict[str, str] = {}
        told: Told | None = None
        for key, value in row.items():
            if value is None or type(value) in (bool, int, float):
                continue
            # Most columns of most rows end here: texts that are read, and short texts under other names.
            if type(value) is str and (key in self.known or (len(value) <= LONG and self._is_label(str(key), value))):
                continue
            key = str(key)
            known = key in self.known
            if (known and (not inside or key in BESIDE)) or (key == "source" and self._is_origin(value)):
                continue
            found = list(self._inside((key,), value))
            short = isinstance(value, str) and not found and not known
            if short and key not in self.remarks and self._is_input(key, value):
                found = [Found((key,), value, value, second=(key,) in self._seconds)]
            if key in self.remarks and is_free(value):
                self.free.add(key)
            named = short and key in self._texts and key not in self.remarks
            if not found and not named and (known or isinstance(value, str) or key in self.remarks or not value):
                continue
            told = told or Told(result)
            # The model reads parts as the one text that the parts make.
            if known and are_parts(value) and told.holds((key,), text_of_parts(value)):
                continue
            lost |= self._lost(found, told)
            if not known and not told.holds((key,), value):
                self.seen[key] += 1
                self.free |= {key} if is_free(value) else set()
        return lost

    def _lost(self, found: Iterable[Found], told: Told) -> dict[str, str]:
        """Return the columns that must not be lost, and count lists inside columns that are read."""
        lost = {}
        for path, value, whole, part, name, second in found:
            # An answer may be JSON with texts inside, and is read as the text that the answer is.
            names = (*path, name) if name else path
            read = told.holds(names, value) or (isinstance(whole, str) and told.holds(path, whole))
            if read or repeats_answers(value, told) or (second and told.quoted(value)):
                continue
            column = ".".join(path)
            if part:
                lost[column] = kind_of(whole)
            elif path[0] in self.known:
                self.seen[column] += 1
        return lost

    def _inside(self, path: Path, value: Any, said: Path | None = None, label: bool = False) -> Iterator[Found]:
        """Yield the texts of a value that may be part of a conversation, and are not read at their place.

        Args:
            said: names below the innermost column that is read; None outside of such columns.
            label: True inside the column of a label.
        """
        if (name := ".".join(path)) in self.remarks:
            # A remark inside the object of an answer is no tag, and has no other place where its name is said.
            self.seen.update([name] if len(path) > 1 and value else [])
            return
        here = path in self._read
        label = label or path in self._labels
        names = () if here else path if said is None else said
        if not isinstance(value, list | dict):
            yield from () if here else self._text(path, value, names, label)
        elif not here and not label and (are_turns(value) or are_attached(path[-1], value)):
            yield Found(path, value, value)
        else:
            listed = isinstance(value, list)
            parts = (self._in_list if listed else self._in_object)(path, value, names, label)
            # Of an unread column that is a part as a whole, the column is named.
            whole = said is None and not here and path not in self._holders and may_be_part(path[-1])
            yield from (_of_column(path, value, each) for each in parts) if whole else parts

    def _in_list(self, path: Path, value: Any, names: Path, label: bool) -> Iterator[Found]:
        """Yield the texts of a list as `_inside` does."""
        here = path in self._read
        if not all(isinstance(entry, str) for entry in value):
            for entry in value:
                yield from self._inside(path, entry, None if names == path else names, label)
        # One text of a row may be a part; a list under another name holds other texts, such as drafts.
        elif not here and (named_part(names) or any(map(is_free, value))) and is_filled(value):
            yield Found(path, value, value, named_part(names))

    def _in_object(self, path: Path, value: Any, names: Path, label: bool) -> Iterator[Found]:
        """Yield the texts of an object as `_inside` does."""
        turn = is_turn(value)
        if turn and value.keys() in PLAIN:
            return
        for key, inner in value.items():
            if not (turn and _in_turn(key, value)):
                yield from self._inside((*path, key), inner, None if names == path else (*names, key), label)

    def _text(self, path: Path, value: Any, names: Path, label: bool) -> Iterator[Found]:
        """Yield a text, or any other value in place of a text, if the value may be part of a conversation."""
        if not is_filled(value):
            return
        if isinstance(value, str) and len(value) > LONG and (held := held_in(value)) is not None:
            # No setting reaches into a text, so the whole text is named.
            inner = self._inside(path, held, None if names == path else names, label)
            yield from (_of_column(path, value, each) for each in inner)
        elif named_part(names) or (not label and (is_free(value) or _short_part(names, value))):
            yield Found(path, value, value)
        elif isinstance(value, str) and not label and (path in self._seconds or path in self._beside):
            yield Found(path, value, value, part=path in self._seconds, second=True)

    def names(self) -> str:
        """Name the columns with texts that are not read, for the line about the reading."""
        found = [quoted(key, str) for key, _ in self.seen.most_common()]
        more = len(found) - MOST_NAMED
        return ", ".join(found[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _of_column(path: Path, value: Any, inner: Found) -> Found:
    """Return what was found inside a column under the name of the column."""
    return Found(path, inner.value, value, inner.part, inner.name or inner.path[-1])


def lost_columns(lost: Mapping[str, str], at: RowPlace | None, name: str) -> tuple[str, str]:
    """Return the message and the hint about columns that must not be lost.

    Args:
        lost: name of each column, and the kind of its values.
    """
    keys = list(lost)
    found = ", ".join(f"{quoted(key, str)} ({lost[key]})" for key in keys[:MOST_NAMED])
    where = f", row {at.row}" if at else ""
    message = f"{name}{where}: {found} would not be read, and may be part of the conversation"
    asking = [key for key in keys if set(words((key,))) and set(words((key,))) <= CERTAIN_QUESTION]
    ignored = option("ignore", *keys) if not any("," in key for key in keys) else ""
    hint = f"leave out on purpose: {ignored}" if ignored else "leave out on purpose with data.ignore"
    if len(asking) == 1:
        # A question that is left out would make another text, such as the prompt of a judge, the prompt.
        hint = f"if {quoted(asking[0], str)} is the prompt: {option('columns.prompt', asking[0])}; {hint}"
    return message, f"{hint}; or put the texts into the prompt: --data.format module:function"


def _short_part(names: Path, value: Any) -> bool:
    """Return True for a short instruction inside an object, and for calls of functions."""
    return bool(names) and isinstance(value, str) and (names[-1] in CALLS or instructs(names[-1], value))


def _in_turn(key: str, message: Row) -> bool:
    """Return True for a key of a message that names the speaker, holds the text, or is given to the template."""
    said = next((name for name in WHAT if message.get(name) is not None), "")
    return key in (*WHO, *EXTRA, *BESIDE, said)


def without(row: Row, ignore: Iterable[str]) -> Row:
    """Return the row without the columns left out on purpose; dots reach into objects and lists of objects."""
    for name in ignore:
        row = _without(row, name)
    return row


def _without(value: Any, name: str) -> Any:
    """Return a value without the column of this name; a value without the column is returned as it is."""
    if isinstance(value, list):
        return [_without(entry, name) for entry in value]
    if not isinstance(value, dict):
        return value
    if name in value:
        return {key: inner for key, inner in value.items() if key != name}
    if "." not in name:
        return value
    # A name may have dots of its own, so every key that the name begins with is entered.
    return {
        key: _without(inner, name[len(key) + 1 :]) if name.startswith(f"{key}.") else inner
        for key, inner in value.items()
    }
