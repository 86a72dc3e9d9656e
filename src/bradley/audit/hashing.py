"""Hashes of words and of words in a row: the features of near duplicates and of the linear model."""

from zlib import crc32

import numpy as np

from ..data.columns import mixed
from ..evaluate.features import split_words

SHINGLE = 3
"""Words of a shingle."""
MOST_WORDS = 4000
"""Most words of a text that are read; a longer text is judged by its beginning."""
MOST_KNOWN = 1_000_000
"""Most words whose hashes are kept."""


class WordHashes(dict[str, int]):
    """Hashes of words; call with a text for the hashes of its words in order, [n] uint64."""

    def __missing__(self, word: str) -> int:
        # Python's own hash of a text differs from process to process, and figures must not.
        if len(self) >= MOST_KNOWN:
            self.clear()
        self[word] = found = crc32(word.encode("utf-8", "surrogatepass"))
        return found

    def __call__(self, text: str) -> np.ndarray:
        words = split_words(text)[:MOST_WORDS]
        return np.fromiter(map(self.__getitem__, words), dtype=np.uint64, count=len(words))


def shingles(words: np.ndarray) -> np.ndarray:
    """Hash each `SHINGLE` words in a row; a shorter text is a single shingle, and a text without words has none.

    Args:
        words: [n] uint64, hashes of words.
    """
    size = min(SHINGLE, len(words))
    if not size:
        return words
    count = len(words) - size + 1
    return mixed(*(words[start : start + count] for start in range(size)))
