"""Special tokens that a message writes out, told apart from those that a template writes.

The place of such a token in a rendered text is found with a mark: a character that occurs nowhere else is put before
its last character, the conversation is rendered again, and the mark is taken out. A special token in the rendered text
is the template's own if no character of it was marked. What a message may add to a token that the template or another
message begins is marked too, so that none can be put together from pieces.

What lies between two special tokens of the template is read as a whole, with special tokens split, where it holds a
forged one: its ids are those that it would have if the tokenizer had no such token. One difference remains: a
vocabulary that writes a blank before the first piece of a text alone (Metaspace with `prepend_scheme = "first"`) writes
one before such a stretch too.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

from ..records import Comparison, Message

Turns = tuple[Message, ...]
PRIVATE = range(0xF0000, 0xFFFFE)
"""Characters that mean nothing to anybody (Unicode's first supplementary private use area)."""


class Piece(NamedTuple):
    """A stretch of a rendered text; `plain` where special tokens in it are ordinary text."""

    text: str
    plain: bool


class SpecialTokens:
    """The special tokens of one tokenizer as patterns of text."""

    def __init__(self, tokenizer: Any) -> None:
        added = list(tokenizer.added_tokens_decoder.values())
        self.special = {token.content for token in added if token.special and token.content}
        self._any = re.compile(_longest_first(self.special))
        self._each = re.compile(f"(?=({_longest_first(self.special)}))")
        self._added = re.compile(_longest_first({token.content for token in added if token.content}))
        self._starts = {token[:i] for token in self.special for i in range(1, len(token))}
        self._ends = {token[i:] for token in self.special for i in range(1, len(token))}
        self._longest = max(map(len, self.special), default=0)
        self._first, self._last = {token[0] for token in self.special}, {token[-1] for token in self.special}

    def suspects(self, messages: Sequence[Message], args: Mapping[str, Any]) -> bool:
        """Whether a message, or a template argument, writes out a special token, or may have a part in one."""
        for content in [message.content for message in messages]:
            if self._any.search(content) or self._parts(content):
                return True
        others = [args, *(json.loads(message.extra) for message in messages if message.extra)]
        return any(self._any.search(text) for text in _texts_in(others))

    def marked(self, comparison: Comparison, mark: str) -> Comparison:
        """The comparison with every character marked that may belong to a special token that a message wrote."""
        return replace(
            comparison,
            prompt=self._marked_turns(comparison.prompt, mark),
            responses=tuple(replace(r, messages=self._marked_turns(r.messages, mark)) for r in comparison.responses),
            template_args=self._marked_value(comparison.template_args, mark),
        )

    def _marked_turns(self, messages: Turns, mark: str) -> Turns:
        return tuple(
            replace(
                message,
                content=_inserted(message.content, self._parts(message.content) | self._written(message.content), mark),
                extra=json.dumps(self._marked_value(json.loads(message.extra), mark)) if message.extra else "",
            )
            for message in messages
        )

    def _marked_value(self, value: Any, mark: str) -> Any:
        if isinstance(value, str):
            return _inserted(value, self._written(value), mark)
        if isinstance(value, dict):
            return {key: self._marked_value(entry, mark) for key, entry in value.items()}
        return [self._marked_value(entry, mark) for entry in value] if isinstance(value, list) else value

    def _written(self, text: str) -> set[int]:
        """Places of the last character of every special token that a text writes out."""
        return {match.end(1) - 1 for match in self._each.finditer(text)}

    def pieces(self, marked: str, mark: str) -> tuple[list[Piece], int]:
        """A rendered text with marks as pieces without, cut only at special tokens of the template, and how many
        special tokens were forged."""
        text, places = unmarked(marked, mark)
        pieces: list[Piece] = []
        usual = begin = forged = total = 0
        for start, end in [*self._specials(text), (len(text), len(text))]:
            if start < end and bisect_left(places, start) < bisect_left(places, end):
                forged += 1
                continue
            if forged:
                pieces += [Piece(text[usual:begin], False), Piece(text[begin:start], True)]
                usual, total, forged = start, total + forged, 0
            begin = end
        pieces.append(Piece(text[usual:], False))
        return [piece for piece in pieces if piece.text], total

    def _specials(self, text: str) -> Iterator[tuple[int, int]]:
        """Special tokens as a tokenizer finds them: the leftmost added token, and of several there the longest."""
        return (match.span() for match in self._added.finditer(text) if match.group() in self.special)

    def _parts(self, content: str) -> set[int]:
        """Places of characters that a token may hold whose other characters stand outside of the message."""
        most = min(len(content), self._longest)
        if self._first.isdisjoint(content[-most:]) and self._last.isdisjoint(content[:most]) and most == self._longest:
            return set()
        end = next((len(content) - n for n in range(1, most + 1) if content[-n:] in self._starts), None)
        start = next((n - 1 for n in range(1, most + 1) if content[:n] in self._ends), None)
        inside = 0 if content and len(content) < self._longest and any(content in t for t in self.special) else None
        return {place for place in (end, start, inside) if place is not None}


def unmarked(text: str, mark: str) -> tuple[str, list[int]]:
    """A text without its marks, and the places of the characters that stood behind one, in order."""
    parts = text.split(mark)
    places, place = [], 0
    for part in parts[:-1]:
        place += len(part)
        places.append(place)
    return "".join(parts), places


def free_mark(comparison: Comparison, rendered: Iterable[str]) -> str:
    """A character that neither the comparison nor its rendered texts hold."""
    messages = messages_of(comparison)
    extras = [json.loads(message.extra) for message in messages if message.extra]
    contents = (message.content for message in messages)
    used = set(chain.from_iterable(chain(rendered, contents, _texts_in([comparison.template_args, extras]))))
    return next(mark for mark in map(chr, PRIVATE) if mark not in used)


def messages_of(comparison: Comparison) -> list[Message]:
    """Every turn of a comparison."""
    return [*comparison.prompt, *(message for response in comparison.responses for message in response.messages)]


def _texts_in(value: Any) -> Iterator[str]:
    """Every text of a JSON value, keys aside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for entry in value.values() if isinstance(value, Mapping) else value:
            yield from _texts_in(entry)


def _inserted(content: str, places: Iterable[int], mark: str) -> str:
    for place in sorted(places, reverse=True):
        content = content[:place] + mark + content[place:]
    return content


def _longest_first(tokens: Iterable[str]) -> str:
    return "|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) or "(?!)"
