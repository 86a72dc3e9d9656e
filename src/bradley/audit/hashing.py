"""Hashes of words and of words in a row: the features of near duplicates and of the linear model."""

from zlib import crc32

import numpy as np

from ..evaluate.features import split_words

SHINGLE = 3
"""Words of a shingle."""
FACTORS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9))
"""Odd numbers with well mixed bits, of the hash functions SplitMix64 and xxHash."""
MOST_WORDS = 4000
"""Most words of a text that are read; a longer text is judged by its beginning."""
MOST_TEXTS = 64
"""Most texts whose hashes are kept."""
MOST_KNOWN = 1_000_000
"""Most words whose hashes are kept."""


class WordHashes(dict[str, int]):
    """Hashes of words; call with a text for the hashes of its words in order, [n] uint64."""

    def __init__(self) -> None:
        super().__init__()
        self._texts: dict[str, np.ndarray] = {}

    def __missing__(self, word: str) -> int:
        # Python's own hash of a text differs from process to process, and figures must not.
        if len(self) >= MOST_KNOWN:
            self.clear()
        self[word] = found = crc32(word.encode("utf-8", "surrogatepass"))
        return found

    def __call__(self, text: str) -> np.ndarray:
        # Several readers ask for the texts of a row one after the other, and a prompt stands in several rows.
        if text not in self._texts:
            if len(self._texts) >= MOST_TEXTS:
                self._texts.clear()
            words = split_words(text)[:MOST_WORDS]
            self._texts[text] = np.fromiter(map(self.__getitem__, words), dtype=np.uint64, count=len(words))
        return self._texts[text]


def shingles(words: np.ndarray) -> np.ndarray:
    """Hash each `SHINGLE` words in a row; a shorter text is a single shingle, and a text without words has none.

    Args:
        words: [n] uint64, hashes of words.
    """
    size = min(SHINGLE, len(words))
    if not size:
        return words
    count = len(words) - size + 1
    return combined(*(words[start : start + count] for start in range(size)))


def combined(*columns: np.ndarray) -> np.ndarray:
    """Hash tuples given as columns of hashes [n] uint64; the order of the columns counts.

    A sum of products with odd numbers, modulo 2^64: a fifth of the time of `data.columns.mixed`, for hashes alone.
    """
    state = np.zeros(len(columns[0]), dtype=np.uint64)
    for column, factor in zip(columns, FACTORS, strict=False):
        state += column * factor
    return state
