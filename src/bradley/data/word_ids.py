"""Encode texts word by word, with the ids of words seen before: several times faster than the library on most texts.

A byte-level vocabulary with a known division into words encodes every word by itself. Python's `re` divides texts of
the characters in `ALPHABET` as the library does: the classes of letters and digits are written out, and hold no
character on which versions of Unicode differ. The model inside the tokenizer encodes each new word, without the steps
of the library around the model, which take most of its time. Every other text is left to the library.
"""

import json
import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

Ids = list[int]
SCRIPTS = "".join(
    [
        *("\u0391-\u03a1\u03a3-\u03c9", "\u0410-\u044f", "\u05d0-\u05ea", "\u0621-\u063a"),
        *("\u3041-\u3094\u30a1-\u30fa\u30fc", "\u4e00-\u9fa5", "\uac00-\ud7a3"),
    ]
)
"""Letters beyond Latin that every version of Unicode knows: Greek, Cyrillic, Hebrew, Arabic; Kana, Han, Hangul."""
LETTERS = f"A-Za-z\u00aa\u00b5\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u017e\u0180-\u024f{SCRIPTS}"
DIGITS = "0-9\u00b2\u00b3\u00b9\u00bc-\u00be"
MARKS = "".join(
    [
        *("\u2010-\u2027\u2030-\u205e", "\u20a0-\u20b5", "\u2190-\u22ff", "\u2500-\u2775", "\U0001f300-\U0001f64f"),
        *("\u3001-\u3003\u3008-\u3011\u3014-\u301b", "\uff01-\uff0f\uff1a-\uff20"),
    ]
)
"""Punctuation, signs of currencies, arrows and signs of mathematics, boxes and signs, pictures; wide punctuation."""
ALPHABET = re.compile(f"[\t\n\r -~\u00a1-\u017e\u0180-\u024f{SCRIPTS}{MARKS}]*")
"""Texts that are divided here. Each character is its own NFC, and composes with no other character in here.

Control characters, rare blanks and accents of their own are left out, as libraries differ on them, and U+017F, which is
an s without case.
"""
OF_BYTE_LEVEL = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""Division of the step `ByteLevel` of the library: that of GPT-2."""
MOST_WORDS = 2**17
"""Most words kept, about 200 bytes each; beyond, the words are collected anew."""


class _Known(dict[str, Ids]):
    """Ids of words; a word that is missing is encoded by the model of a tokenizer."""

    def __init__(self, model: Any, added: dict[str, Ids]) -> None:
        super().__init__(added)
        self._tokenize = model.tokenize

    def __missing__(self, word: str) -> Ids:
        written = word.encode().decode("latin-1").translate(OF_BYTES)
        ids = self[word] = [token.id for token in self._tokenize(written)]
        return ids


class WordIds:
    """Ids of words of a tokenizer.

    Args:
        model: the model of the tokenizer, with a method `tokenize` from the characters of bytes to tokens with ids.
        pattern: the division into words, see `division_of`.
        added: ids of added tokens by content, taken out of a text before the division.
        other: added tokens with rules of their own; a text that holds one is left to the library.

    Example:
        words = WordIds(tokenizer.backend_tokenizer.model, re.compile(r" ?[a-z]+|[^a-z]"), {}, [])
        words.of(["a bc"])  # [[ids of "a", then of " bc"]]
    """

    def __init__(self, model: Any, pattern: "re.Pattern[str]", added: dict[str, int], other: Sequence[str]) -> None:
        self._model = model
        self._pattern = pattern
        self._other = other
        self._added = {content: [id] for content, id in added.items()}
        longest_first = "|".join(map(re.escape, sorted(added, key=len, reverse=True)))
        self._split = re.compile(f"({longest_first})") if added else None
        self._known = _Known(model, self._added)

    def of(self, texts: Sequence[str]) -> list[Ids | None]:
        """Return the ids of each text; None for a text that only the library encodes.

        Args:
            texts: any number of texts.
        """
        # Another thread may begin a new collection meanwhile.
        known = self._known
        if len(known) > MOST_WORDS:
            # Words of the added tokens are no words: the model would not find the token again.
            known = self._known = _Known(self._model, self._added)
        ids = known.__getitem__
        divided = map(self._words, texts)
        return [None if words is None else list(chain.from_iterable(map(ids, words))) for words in divided]

    def _words(self, text: str) -> list[str] | None:
        """Divide a text into added tokens and words; None for a text that only the library divides."""
        if not (text.isascii() and text.isprintable()) and not ALPHABET.fullmatch(text):
            return None
        for token in self._other:
            if token in text:
                return None
        if self._split is None:
            return self._pattern.findall(text)
        words: list[str] = []
        # Every second part is an added token.
        for place, part in enumerate(self._split.split(text)):
            if place % 2:
                words.append(part)
            elif part:
                words += self._pattern.findall(part)
        return words


def merges_words(backend: Any) -> bool:
    """Return True if a tokenizer of the library divides texts, and merges the same way each time.

    A normalizer may only compose characters (NFC).
    """
    if type(backend.model).__name__ != "BPE" or backend.model.dropout or backend.truncation or backend.padding:
        return False
    composes = backend.normalizer is None or type(backend.normalizer).__name__ == "NFC"
    return composes and backend.pre_tokenizer is not None


def word_ids(tokenizer: Any) -> WordIds | None:
    """Return the words of a tokenizer; None if a text is not encoded word by word."""
    backend = tokenizer.backend_tokenizer
    if not merges_words(backend):
        return None
    pattern = division_of(json.loads(backend.pre_tokenizer.__getstate__()))
    if pattern is None:
        return None
    tokens = {id: token for id, token in tokenizer.added_tokens_decoder.items() if token.content}
    plain = {
        token.content: id
        for id, token in tokens.items()
        # A token with blanks taken from its neighbours changes the words beside the token.
        if not (token.normalized or token.lstrip or token.rstrip or token.single_word)
        # Special tokens are ordinary text where the tokenizer splits these.
        and not (token.special and tokenizer.split_special_tokens)
    }
    other = [token.content for token in tokens.values() if token.content not in plain]
    return WordIds(backend.model, pattern, plain, other)


def _characters_of_bytes() -> dict[int, str]:
    """Return the character of each byte in a byte-level vocabulary (GPT-2, Radford et al., 2019)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {byte: chr(byte) for byte in shown} | {byte: chr(256 + place) for place, byte in enumerate(hidden)}


OF_BYTES = _characters_of_bytes()


def division_of(rules: dict[str, Any]) -> "re.Pattern[str] | None":
    """Translate the division of a pre-tokenizer for texts of `ALPHABET`; None for an unknown division.

    Known are `ByteLevel` with its own division, and a division by `Split` before a `ByteLevel` without one.

    Args:
        rules: the pre-tokenizer as the library writes it to JSON.
    """
    steps = rules["pretokenizers"] if rules["type"] == "Sequence" else [rules]
    *splits, last = steps
    # A blank put before a text would stand before every word.
    if last["type"] != "ByteLevel" or last["add_prefix_space"] or len(splits) != (0 if last["use_regex"] else 1):
        return None
    if not splits:
        return translated(OF_BYTE_LEVEL)
    split = splits[0]
    if (
        split["type"] != "Split"
        or split["behavior"] != "Isolated"
        or split["invert"]
        or "Regex" not in split["pattern"]
    ):
        return None
    regex = split["pattern"]["Regex"]
    return translated(regex) if set(alternatives(regex)) <= OF_WORDS else None


def translated(regex: str) -> "re.Pattern[str] | None":
    """Translate a pattern of alternatives of `OF_WORDS`; None if some character of `ALPHABET` is in no word."""
    written, inside = "", False
    for part in re.split(r"(\\p\{[LMN]\}|\\.|\[|\])", regex):
        if part.startswith(r"\p"):
            ranges = {"L": LETTERS, "M": "", "N": DIGITS}[part[3]]
            written += ranges if inside else f"[{ranges}]"
            continue
        inside = part == "[" or (inside and part != "]")
        written += part
    pattern = re.compile(written)
    # A pattern of `OF_WORDS` treats all letters alike, and so all digits, and all other characters but blanks.
    covered = all(map(pattern.fullmatch, filter(ALPHABET.fullmatch, map(chr, range(0x250)))))
    return pattern if covered else None


def alternatives(pattern: str) -> list[str]:
    """Split a regular expression at the bars outside of brackets."""
    found, depth = [""], 0
    for character in pattern:
        depth += (character in "([") - (character in ")]")
        if character == "|" and not depth:
            found.append("")
        else:
            found[-1] += character
    return found


OF_WORDS = frozenset(
    {
        *("'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "(?i:'s|'t|'re|'ve|'m|'ll|'d)"),
        *(r" ?\p{L}+", r" ?\p{N}+", r"\p{N}", r"\p{N}+", r"\p{N}{1,2}", r"\p{N}{1,3}"),
        *(r"[^\r\n\p{L}\p{N}]?\p{L}+", r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+"),
        *(r" ?[^\s\p{L}\p{N}]+", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r" ?[^\s\p{L}\p{N}]+[\r\n/]*"),
        *(r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"),
    }
)
"""Alternatives in the patterns of words of GPT-2, GPT-4, Llama 3 and Qwen. None matches a letter or digit with a blank
or a mark of `encoder.SEAM` after the letter, and none looks further than one character beyond blanks."""
