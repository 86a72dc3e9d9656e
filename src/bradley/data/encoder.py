"""Text to token ids, exactly as the tokenizer's own call does it, and faster where that can be proven.

Two things save time with a tokenizer of the `tokenizers` library: its batches are asked for ids alone, without offsets;
and texts that begin alike are cut where a special token begins, so that the beginning is read once. Such a cut changes
no id, because the library takes special tokens out of a text before it looks at anything else, and then treats what
lies between them piece by piece.
"""

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import chain
from typing import Any

Ids = list[int]
REMEMBERED = 4_000_000
"""Tokens of texts read lately that are kept, as 4 bytes each: pairs of one prompt may lie far apart in a file."""
ENTRY = 64
"""What a remembered text costs besides its tokens, in tokens."""


class Encoder:
    """One tokenizer. `special` says whether it adds its own special tokens around a text."""

    def __init__(self, tokenizer: Any, special: bool) -> None:
        self.tokenizer = tokenizer
        self.special = special
        self._direct = _reads_directly(tokenizer)
        self._cuts = _safe_cuts(tokenizer) if self._direct and not special else []
        self._recent: OrderedDict[str, array[int]] = OrderedDict()
        self._remembered = 0

    def ids(self, texts: Sequence[str], plain: bool = False) -> list[Ids]:
        """The ids of each text; `plain` reads special tokens that are written out as ordinary text."""
        if not texts:
            return []
        if not self._direct:
            more = {"split_special_tokens": True} if plain else {}
            call = self.tokenizer(list(texts), add_special_tokens=self.special, verbose=False, **more)
            return [list(row) for row in call["input_ids"]]
        backend = self.tokenizer.backend_tokenizer
        backend.encode_special_tokens = plain or self.tokenizer.split_special_tokens
        encodings = backend.encode_batch_fast(list(texts), add_special_tokens=self.special)
        backend.encode_special_tokens = self.tokenizer.split_special_tokens
        return [encoding.ids for encoding in encodings]

    def groups(self, groups: Sequence[Sequence[str]]) -> list[list[Ids]]:
        """The ids of each text of each group; what all texts of a group begin with is read once, as are equal texts."""
        cuts = self._cuts_of(groups)
        pieces = [split_head(group, cuts) for group in groups]
        read = self._read(dict.fromkeys(chain.from_iterable(pieces)))
        return [
            _joined([read[text] for text in piece], len(piece) > len(group))
            for group, piece in zip(groups, pieces, strict=True)
        ]

    def _read(self, texts: Iterable[str]) -> dict[str, Ids]:
        """The ids of different texts; those read lately are remembered."""
        known = {text: self._recent[text].tolist() for text in texts if text in self._recent}
        unread = [text for text in texts if text not in known]
        known |= zip(unread, self.ids(unread), strict=True)
        for text in unread:
            self._recent[text] = array("I", known[text])
            self._remembered += len(known[text]) + ENTRY
        while self._remembered > REMEMBERED:
            self._remembered -= len(self._recent.popitem(last=False)[1]) + ENTRY
        return known

    def _cuts_of(self, groups: Sequence[Sequence[str]]) -> list[str]:
        """The safe cuts that these texts are likely to hold: what the first of them holds."""
        first = next((group[0] for group in groups if group), "")
        return [cut for cut in self._cuts if cut in first]


def split_head(texts: Sequence[str], cuts: Sequence[str]) -> list[str]:
    """The texts; or what they share, up to the last of `cuts` in it, and then what follows in each of them."""
    shared = reduce(lambda shared, text: shared[: common_prefix(shared, text)], texts)
    place = max((shared.rfind(cut) for cut in cuts), default=0)
    return [shared[:place], *(text[place:] for text in texts)] if place > 0 else list(texts)


def common_prefix(a: Sequence[Any], b: Sequence[Any]) -> int:
    """Number of leading elements that two sequences of one type share, found by halving."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle)
    return low


def _joined(read: list[Ids], headed: bool) -> list[Ids]:
    return [read[0] + tail for tail in read[1:]] if headed else read


def _reads_directly(tokenizer: Any) -> bool:
    """Whether the tokenizer's call is nothing but the call of its backend."""
    from transformers import PreTrainedTokenizerFast

    methods = ("__call__", "_encode_plus")
    kind = type(tokenizer)
    return bool(tokenizer.is_fast) and all(
        getattr(kind, name, None) is getattr(PreTrainedTokenizerFast, name, None) for name in methods
    )


def _safe_cuts(tokenizer: Any) -> list[str]:
    """Special tokens before which a text may be cut.

    Not those that look at what stands before them, nor those that another added token could begin inside of the text
    before, and so swallow.
    """
    if tokenizer.split_special_tokens:
        return []
    added = list(tokenizer.added_tokens_decoder.values())
    rigid = [t.content for t in added if t.special and not (t.normalized or t.lstrip or t.single_word) and t.content]
    tails: dict[str, set[str]] = {}
    for text in (token.content[i:] for token in added for i in range(1, len(token.content))):
        tails.setdefault(text[0], set()).add(text)
    return [
        cut for cut in rigid if not any(tail.startswith(cut) or cut.startswith(tail) for tail in tails.get(cut[0], ()))
    ]
