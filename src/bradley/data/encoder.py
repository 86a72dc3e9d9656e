"""Encode text to token ids with the same result as the tokenizer's own call, by proven shortcuts.

Two shortcuts save time with a tokenizer of the `tokenizers` library. Batches return ids alone, without offsets. Texts
with a common beginning are cut where a special token begins, and the beginning is encoded once. Such a cut changes no
id: the library first takes special tokens out of a text, then encodes the stretches in between separately.
"""

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import chain
from typing import Any

Ids = list[int]
REMEMBERED = 4_000_000
"""Tokens kept of recently encoded texts, 4 bytes each: pairs of a prompt may lie far apart in a file."""
ENTRY = 64
"""Overhead of a remembered text, in tokens."""


class Encoder:
    """Encoder of text with a tokenizer.

    Args:
        tokenizer: a transformers tokenizer.
        special: True to add the tokenizer's own special tokens around each text.
    """

    def __init__(self, tokenizer: Any, special: bool) -> None:
        self.tokenizer = tokenizer
        self.special = special
        self._direct = _reads_directly(tokenizer)
        # With special tokens added around each text, a cut would put some into the middle.
        self._cuts = _safe_cuts(tokenizer) if self._direct and not special else []
        self._recent: OrderedDict[str, array[int]] = OrderedDict()
        self._remembered = 0

    def ids(self, texts: Sequence[str], plain: bool = False) -> list[Ids]:
        """Encode each text.

        Args:
            texts: any number of texts.
            plain: True to encode written-out special tokens as ordinary text.
        """
        if not texts:
            return []
        if not self._direct:
            more = {"split_special_tokens": True} if plain else {}
            call = self.tokenizer(list(texts), add_special_tokens=self.special, verbose=False, **more)
            return [list(row) for row in call["input_ids"]]
        backend = self.tokenizer.backend_tokenizer
        # The flag belongs to the tokenizer, which others use too: left changed, their ids would differ.
        backend.encode_special_tokens = plain or self.tokenizer.split_special_tokens
        encodings = backend.encode_batch_fast(list(texts), add_special_tokens=self.special)
        backend.encode_special_tokens = self.tokenizer.split_special_tokens
        return [encoding.ids for encoding in encodings]

    def groups(self, groups: Sequence[Sequence[str]]) -> list[list[Ids]]:
        """Encode the texts of each group. Equal texts, and the common beginning of a group, are encoded once."""
        cuts = self._cuts_of(groups)
        parts = [split_head(group, cuts) for group in groups]
        read = self._read(dict.fromkeys(chain.from_iterable(parts)))
        return [
            _joined([read[text] for text in texts], len(texts) > len(group))
            for group, texts in zip(groups, parts, strict=True)
        ]

    def _read(self, texts: Iterable[str]) -> dict[str, Ids]:
        """Encode different texts, and reuse the ids of recent texts."""
        known = {text: self._recent[text].tolist() for text in texts if text in self._recent}
        unread = [text for text in texts if text not in known]
        known |= zip(unread, self.ids(unread), strict=True)
        for text in unread:
            # Flat arrays: Python lists would take several times the memory.
            self._recent[text] = array("I", known[text])
            self._remembered += len(known[text]) + ENTRY
        # The bound counts tokens, not texts: a few long texts may fill the memory of many short ones.
        while self._remembered > REMEMBERED:
            self._remembered -= len(self._recent.popitem(last=False)[1]) + ENTRY
        return known

    def _cuts_of(self, groups: Sequence[Sequence[str]]) -> list[str]:
        """Return the safe cuts found in the first text, as a guess for the other texts."""
        # Searching all texts for every special token would cost more than a cut saves; a missed cut changes no id.
        first = next((group[0] for group in groups if group), "")
        return [cut for cut in self._cuts if cut in first]


def split_head(texts: Sequence[str], cuts: Sequence[str]) -> list[str]:
    """Split texts into the common beginning, up to the last of `cuts`, and the rest of each text.

    Without a common cut, return the texts unchanged.
    """
    shared = reduce(lambda shared, text: shared[: common_prefix(shared, text)], texts)
    place = max((shared.rfind(cut) for cut in cuts), default=0)
    return [shared[:place], *(text[place:] for text in texts)] if place > 0 else list(texts)


def common_prefix(a: Sequence[Any], b: Sequence[Any]) -> int:
    """Count the leading elements shared by two sequences of the same type, by halving."""
    # Slices are compared in C: a Python loop over thousands of tokens would be far slower.
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle)
    return low


def _joined(read: list[Ids], headed: bool) -> list[Ids]:
    """Put the ids of a common beginning before the ids of each rest."""
    return [read[0] + tail for tail in read[1:]] if headed else read


def _reads_directly(tokenizer: Any) -> bool:
    """Return True if the tokenizer's call does nothing except call the backend."""
    from transformers import PreTrainedTokenizerFast

    # A class with a call of its own may change texts or ids; calling the backend directly would skip that.
    methods = ("__call__", "_encode_plus")
    kind = type(tokenizer)
    return bool(tokenizer.is_fast) and all(
        getattr(kind, name, None) is getattr(PreTrainedTokenizerFast, name, None) for name in methods
    )


def _safe_cuts(tokenizer: Any) -> list[str]:
    """Return the special tokens before which a text may be cut.

    Two kinds are excluded: tokens affected by the preceding text, and tokens swallowed by another added token with a
    beginning in the preceding text.
    """
    # Special tokens are then ordinary text, and the model of the vocabulary may merge across them.
    if tokenizer.split_special_tokens:
        return []
    added = list(tokenizer.added_tokens_decoder.values())
    rigid = [t.content for t in added if t.special and not (t.normalized or t.lstrip or t.single_word) and t.content]
    # Every proper ending of an added token, by first character: a cut that an ending matches may lie inside that token.
    tails: dict[str, set[str]] = {}
    for text in (token.content[i:] for token in added for i in range(1, len(token.content))):
        tails.setdefault(text[0], set()).add(text)
    return [
        cut for cut in rigid if not any(tail.startswith(cut) or cut.startswith(tail) for tail in tails.get(cut[0], ()))
    ]
