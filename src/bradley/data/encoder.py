"""Encode text to token ids with the same result as the tokenizer's own call, by proven shortcuts.

Two shortcuts save time with a tokenizer of the `tokenizers` library. Batches return ids alone, without offsets. Texts
with a common beginning are cut, and the beginning is encoded once. Two kinds of cuts change no id:

- Where a special token begins: the library first takes special tokens out of a text, then encodes the stretches in
  between separately.
- Between a letter or digit and a blank or a mark such as a comma, for byte-level vocabularies with a known division
  into words: no word of these holds such a place, and a division looks at nothing beyond a word. See `_has_seams`.

Special tokens that the tokenizer adds around a text are put around the joined ids.
"""

import json
import os
import re
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple

from ..common.model_files import COPY, library_errors
from ..errors import DataError
from ..records import Message
from .word_ids import OF_WORDS, alternatives, merges_words, word_ids

Ids = list[int]
FAILS = f"{COPY}, or name another tokenizer with model.tokenizer"
"""Hint for a tokenizer that loads and cannot encode."""
REMEMBERED = 4_000_000
"""Tokens kept of recently encoded texts, 4 bytes each: pairs of a prompt may lie far apart in a file."""
ENTRY = 64
"""Overhead of a remembered text, in tokens."""
LEAST_HEAD = 24
"""Fewest characters of a beginning that is cut off at a seam: shorter ones are encoded faster than they are cut."""
SEAM = re.compile(
    r"(?<=[0-9A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0391-\u03a1\u03a3-\u03c9\u0410-\u044f\u05d0-\u05ea"
    r"\u0621-\u063a\u3041-\u3094\u30a1-\u30fa\u4e00-\u9fa5\uac00-\ud7a3])"
    r"[ \n,.!?;:\u3001\u3002\uff0c\uff01\uff1f\uff1b\uff1a]"
)
"""A blank or mark after a letter or digit. Only letters of old versions of Unicode, which every library knows."""
PIECE = 1 << 16
"""Characters after which a long text is cut at the next seam."""
TOGETHER = 1 << 20
"""Characters given to the tokenizer in a call: the library takes about 100 bytes of memory for each."""
THREADS = "TOKENIZERS_PARALLELISM"
"""Variable of the library: `false` for calls that stay in their thread."""
SEAM_WINDOW = 200
"""Characters at the end of a beginning in which a seam is looked for first."""


@contextmanager
def on_one_core() -> Iterator[None]:
    """Keep the library from using threads of its own inside a `with` block, where other processes use the cores."""
    before = os.environ.get(THREADS)
    os.environ[THREADS] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[THREADS]
        else:
            os.environ[THREADS] = before


class Frame(NamedTuple):
    """Special tokens that a tokenizer adds before and after each text."""

    before: Ids
    after: Ids


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
        # With special tokens added around each piece, a cut would put some into the middle.
        self._frame = (_frame(tokenizer) if special else Frame([], [])) if self._direct else None
        self._cuts = _safe_cuts(tokenizer) if self._frame is not None else []
        self._seams = self._frame is not None and _has_seams(tokenizer)
        self._words = word_ids(tokenizer) if self._frame is not None else None
        self._recent: OrderedDict[str, array[int]] = OrderedDict()
        self._remembered = 0

    def ids(self, texts: Sequence[str], plain: bool = False) -> list[Ids]:
        """Encode each text.

        Args:
            texts: any number of texts.
            plain: True to encode written-out special tokens as ordinary text.

        Raises:
            CheckpointError: the tokenizer fails at a text.
        """
        return self._encoded(texts, plain, self.special)

    def _encoded(self, texts: Sequence[str], plain: bool, special: bool) -> list[Ids]:
        """Encode as `ids`, with or without the tokenizer's own special tokens around each text."""
        if not texts:
            return []
        # A tokenizer may load, and fail at the first text: by an exception of Python's, or by a panic of Rust's.
        with library_errors("the tokenizer fails at a text", FAILS):
            if not self._direct:
                more = {"split_special_tokens": True} if plain else {}
                call = self.tokenizer(list(texts), add_special_tokens=special, verbose=False, **more)
                return [list(row) for row in call["input_ids"]]
            return self._by_backend(texts, plain, special)

    def _by_backend(self, texts: Sequence[str], plain: bool, special: bool) -> list[Ids]:
        """Encode by the library itself: long texts in pieces, and only so many characters at a time."""
        # With special tokens added around each piece, a cut would put some into the middle.
        pieces = [[text] if special or not self._seams else cut_at_seams(text) for text in texts]
        read: list[Ids] = []
        for batch in _batches(list(chain.from_iterable(pieces))):
            read += self._called(batch, plain, special)
        rest = iter(read)
        return [next(rest) if len(each) == 1 else [id for _ in each for id in next(rest)] for each in pieces]

    def _called(self, texts: list[str], plain: bool, special: bool) -> list[Ids]:
        """Call the library."""
        backend = self.tokenizer.backend_tokenizer
        # The flag belongs to the tokenizer, which others use too: left changed, their ids would differ.
        backend.encode_special_tokens = plain or self.tokenizer.split_special_tokens
        try:
            encodings = backend.encode_batch_fast(texts, add_special_tokens=special)
        finally:
            backend.encode_special_tokens = self.tokenizer.split_special_tokens
        return [encoding.ids for encoding in encodings]

    def groups(self, groups: Sequence[Sequence[str]]) -> list[list[Ids]]:
        """Encode the texts of each group. Equal texts, and the common beginning of a group, are encoded once."""
        cuts = self._cuts_of(groups)
        parts = [split_head(group, cuts, self._seams) for group in groups]
        read = self._read(dict.fromkeys(chain.from_iterable(parts)))
        return [
            self._joined([read[text] for text in texts], len(texts) > len(group))
            for group, texts in zip(groups, parts, strict=True)
        ]

    def _joined(self, read: list[Ids], headed: bool) -> list[Ids]:
        """Put the ids of a common beginning before the ids of each rest, and the frame around each text."""
        rows = [read[0] + tail for tail in read[1:]] if headed else read
        if self._frame is None or not any(self._frame):
            return rows
        return [[*self._frame.before, *row, *self._frame.after] for row in rows]

    def _read(self, texts: Iterable[str]) -> dict[str, Ids]:
        """Encode different texts, and reuse the ids of recent texts."""
        known = {text: self._recent[text].tolist() for text in texts if text in self._recent}
        unread = [text for text in texts if text not in known]
        if self._words is not None:
            with library_errors("the tokenizer fails at a text", FAILS):
                quick = self._words.of(unread)
            known |= {text: ids for text, ids in zip(unread, quick, strict=True) if ids is not None}
            # Words are found faster than texts are remembered.
            unread = [text for text, ids in zip(unread, quick, strict=True) if ids is None]
        # Pieces of a text get their frame when they are joined.
        known |= zip(unread, self._encoded(unread, False, self.special and self._frame is None), strict=True)
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


def given_ids(messages: Iterable[Message], size: int) -> Ids:
    """Parse token ids written as decimal numbers in the contents of messages.

    Args:
        messages: turns of the role `ids`.
        size: number of tokens in the vocabulary.

    Raises:
        DataError: a word is no whole number, or a number outside of the vocabulary.
    """
    try:
        ids = [int(word) for message in messages for word in message.content.split()]
    except ValueError as error:
        raise DataError(f"token ids must be whole numbers: {error}", "correct the row") from error
    # An id outside of the vocabulary would crash the embedding on a CPU, and stop a GPU with an unclear error.
    if wrong := [id for id in ids if not 0 <= id < size]:
        raise DataError(
            f"token id {wrong[0]} is outside of the tokenizer's vocabulary of {size}",
            "name the tokenizer that made the ids with model.tokenizer",
        )
    return ids


def split_head(texts: Sequence[str], cuts: Sequence[str], seams: bool = False) -> list[str]:
    """Split texts into the common beginning, up to the last of `cuts`, and the rest of each text.

    Without a common cut, return the texts unchanged.

    Args:
        texts: one text or more.
        cuts: special tokens before which a text may be cut.
        seams: True if a text may be cut at a `SEAM` too.
    """
    # What the first and the last text in alphabetical order share, all texts share.
    low, high = min(texts), max(texts)
    shared = low if high.startswith(low) else low[: common_prefix(low, high)]
    place = max((shared.rfind(cut) for cut in cuts), default=0)
    if seams:
        place = max(place, _last_seam(shared, max(place, LEAST_HEAD)))
    return [shared[:place], *(text[place:] for text in texts)] if place > 0 else list(texts)


def cut_at_seams(text: str) -> list[str]:
    """Cut a long text at the first seam after every `PIECE` characters."""
    places = [0]
    while len(text) - places[-1] > PIECE and (found := SEAM.search(text, places[-1] + PIECE)):
        places.append(found.start())
    return [text[start:end] for start, end in zip(places, [*places[1:], len(text)], strict=True)]


def _batches(texts: list[str]) -> Iterator[list[str]]:
    """Yield runs of texts of at most `TOGETHER` characters, and longer texts alone."""
    batch: list[str] = []
    room = TOGETHER
    for text in texts:
        if batch and len(text) > room:
            yield batch
            batch, room = [], TOGETHER
        batch.append(text)
        room -= len(text)
    if batch:
        yield batch


def _last_seam(text: str, least: int) -> int:
    """Return the place of the last seam from `least` on; 0 without a seam."""
    for start in dict.fromkeys((max(least, len(text) - SEAM_WINDOW), least)):
        places = [match.start() for match in SEAM.finditer(text, start)]
        if places:
            return places[-1]
    return 0


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


def _frame(tokenizer: Any) -> Frame | None:
    """Return the special tokens added around every text; None if these depend on the text."""
    backend = tokenizer.backend_tokenizer
    # Both alone would hide a post-processor that writes a text twice, or only long texts.
    frames = []
    for probe in ("a", "a b c d e f"):
        framed = backend.encode(probe, add_special_tokens=True)
        bare = backend.encode(probe, add_special_tokens=False).ids
        before = next((place for place, added in enumerate(framed.special_tokens_mask) if not added), 0)
        if not bare or framed.ids[before : before + len(bare)] != bare:
            return None
        frames.append(Frame(framed.ids[:before], framed.ids[before + len(bare) :]))
    return frames[0] if frames[0] == frames[1] else None


def _has_seams(tokenizer: Any) -> bool:
    """Return True if a text may be cut at a `SEAM`.

    A normalizer may only compose characters (NFC), and no mark of a seam composes with a letter. The division into
    words has to be of `OF_WORDS` alone. No added token may hold a seam, or take blanks after a letter or digit.
    """
    backend = tokenizer.backend_tokenizer
    if not merges_words(backend):
        return False
    added = tokenizer.added_tokens_decoder.values()
    if any(SEAM.search(t.content) or (t.rstrip and t.content[-1:].isalnum()) for t in added):
        return False
    rules = json.loads(backend.pre_tokenizer.__getstate__())
    steps = rules["pretokenizers"] if rules["type"] == "Sequence" else [rules]
    divides = [_divides(step) for step in steps]
    return all(each is not None for each in divides) and any(divides)


def _divides(step: dict[str, Any]) -> bool | None:
    """Return True for a step that divides at every seam, False for a step that need not, None if unknown."""
    if step["type"] == "ByteLevel":
        # A blank would be put before the rest of a text.
        return None if step["add_prefix_space"] else bool(step["use_regex"])
    if step["type"] == "Digits":
        return False
    if step["type"] != "Split" or step["behavior"] != "Isolated" or step["invert"] or "Regex" not in step["pattern"]:
        return None
    return True if set(alternatives(step["pattern"]["Regex"])) <= OF_WORDS else None
