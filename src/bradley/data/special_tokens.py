"""Tell special tokens spelled by messages from special tokens written by a template.

A mark locates such tokens in a rendered text. The mark is a character found nowhere else, put before the last character
of each spelled token. The conversation is rendered again with marks, and the marks are taken out. A special token in
the rendered text belongs to the template if no character of the token was marked. A message may also complete a token
begun by the template or another message; the characters involved are marked too.

A stretch between two special tokens of the template with a forged token inside is read as a whole, with special tokens
split. The ids equal the ids of a tokenizer without the forged token. A difference remains for
vocabularies with a blank before the first piece of a text alone (Metaspace with `prepend_scheme = "first"`). Such a
vocabulary puts a blank before the stretch too.
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
"""Characters without any meaning (Unicode's first supplementary private use area)."""


class Piece(NamedTuple):
    """A stretch of a rendered text; `plain` is True if special tokens inside are ordinary text."""

    text: str
    plain: bool


class SpecialTokens:
    """Special tokens of a tokenizer, as patterns of text."""

    def __init__(self, tokenizer: Any) -> None:
        added = list(tokenizer.added_tokens_decoder.values())
        self.special = {token.content for token in added if token.special and token.content}
        self._any = re.compile(_longest_first(self.special))
        # The lookahead finds overlapping tokens too: a token that begins inside another must be marked as well.
        self._each = re.compile(f"(?=({_longest_first(self.special)}))")
        self._added = re.compile(_longest_first({token.content for token in added if token.content}))
        self._starts = {token[:i] for token in self.special for i in range(1, len(token))}
        self._ends = {token[i:] for token in self.special for i in range(1, len(token))}
        self._longest = max(map(len, self.special), default=0)
        self._first, self._last = {token[0] for token in self.special}, {token[-1] for token in self.special}

    def suspects(self, messages: Sequence[Message], args: Mapping[str, Any]) -> bool:
        """Return True if a message or template argument spells a special token, or may hold a part of a token."""
        for content in [message.content for message in messages]:
            if (self._may_hold(content) and self._any.search(content)) or self._parts(content):
                return True
        if not args and not any(message.extra for message in messages):
            return False
        others = [args, *(json.loads(message.extra) for message in messages if message.extra)]
        return any(self._any.search(text) for text in _texts_in(others))

    def _may_hold(self, content: str) -> bool:
        """Return False for a text without the first character of any special token: far cheaper than a search."""
        return any(first in content for first in self._first)

    def marked(self, comparison: Comparison, mark: str) -> Comparison:
        """Mark every character of a comparison that may belong to a special token spelled by a message."""
        return replace(
            comparison,
            prompt=self._marked_turns(comparison.prompt, mark),
            responses=tuple(replace(r, messages=self._marked_turns(r.messages, mark)) for r in comparison.responses),
            template_args=self._marked_value(comparison.template_args, mark),
        )

    def _marked_turns(self, messages: Turns, mark: str) -> Turns:
        """Mark the contents and extras of messages."""
        return tuple(
            replace(
                message,
                content=_inserted(message.content, self._parts(message.content) | self._written(message.content), mark),
                extra=json.dumps(self._marked_value(json.loads(message.extra), mark)) if message.extra else "",
            )
            for message in messages
        )

    def _marked_value(self, value: Any, mark: str) -> Any:
        """Mark every text of a JSON value."""
        if isinstance(value, str):
            return _inserted(value, self._written(value), mark)
        if isinstance(value, dict):
            return {key: self._marked_value(entry, mark) for key, entry in value.items()}
        return [self._marked_value(entry, mark) for entry in value] if isinstance(value, list) else value

    def _written(self, text: str) -> set[int]:
        """Return the place of the last character of every special token spelled in a text."""
        return {match.end(1) - 1 for match in self._each.finditer(text)}

    def pieces(self, marked: str, mark: str) -> tuple[list[Piece], int]:
        """Cut a marked text at the special tokens of the template.

        Returns:
            The pieces without marks, and the number of forged special tokens.
        """
        text, places = unmarked(marked, mark)
        pieces: list[Piece] = []
        usual = begin = forged = total = 0
        # `usual` and `begin` are the ends of what was given out and of the template's latest token; the empty token at
        # the end closes the last stretch.
        for start, end in [*self._specials(text), (len(text), len(text))]:
            # A mark inside of the token: some of its characters come from a message.
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
        """Find special tokens like a tokenizer: the leftmost added token, and the longest at the same place."""
        return (match.span() for match in self._added.finditer(text) if match.group() in self.special)

    def _parts(self, content: str) -> set[int]:
        """Return the places of characters that a token with other characters outside of the message may hold."""
        # Most messages neither begin nor end with a character of a special token; this test keeps the common case fast.
        most = min(len(content), self._longest)
        if self._first.isdisjoint(content[-most:]) and self._last.isdisjoint(content[:most]) and most == self._longest:
            return set()
        end = next((len(content) - n for n in range(1, most + 1) if content[-n:] in self._starts), None)
        start = next((n - 1 for n in range(1, most + 1) if content[:n] in self._ends), None)
        inside = 0 if content and len(content) < self._longest and any(content in t for t in self.special) else None
        return {place for place in (end, start, inside) if place is not None}


def unmarked(text: str, mark: str) -> tuple[str, list[int]]:
    """Remove the marks of a text.

    Returns:
        The text, and the places of the characters after a mark, in order.
    """
    parts = text.split(mark)
    places, place = [], 0
    for part in parts[:-1]:
        place += len(part)
        places.append(place)
    return "".join(parts), places


def free_mark(comparison: Comparison, rendered: Iterable[str]) -> str:
    """Find a character absent from the comparison and the rendered texts."""
    messages = messages_of(comparison)
    extras = [json.loads(message.extra) for message in messages if message.extra]
    contents = (message.content for message in messages)
    used = set(chain.from_iterable(chain(rendered, contents, _texts_in([comparison.template_args, extras]))))
    return next(mark for mark in map(chr, PRIVATE) if mark not in used)


def messages_of(comparison: Comparison) -> list[Message]:
    """List every turn of a comparison."""
    return [*comparison.prompt, *(message for response in comparison.responses for message in response.messages)]


def _texts_in(value: Any) -> Iterator[str]:
    """Iterate over every text of a JSON value, except keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for entry in value.values() if isinstance(value, Mapping) else value:
            yield from _texts_in(entry)


def _inserted(content: str, places: Iterable[int], mark: str) -> str:
    """Insert a mark before each place."""
    # From the end, so that an insertion does not move the places before it.
    for place in sorted(places, reverse=True):
        content = content[:place] + mark + content[place:]
    return content


def _longest_first(tokens: Iterable[str]) -> str:
    """Build a pattern of tokens that prefers longer tokens."""
    # `(?!)` matches nothing; an empty pattern would match everywhere.
    return "|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) or "(?!)"
