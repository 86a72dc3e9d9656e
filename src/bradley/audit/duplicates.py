"""Duplicates: rows that repeat an earlier row exactly, and rows with nearly the words of an earlier row.

Exact: the same prompt, template arguments, texts and preferences, and the same annotator where rows name annotators.
The order of the responses does not count. Equal rows of several annotators are votes, and no duplicates.

Near: the Jaccard similarity of the sets of three words in a row (shingles) is at least a threshold for the two prompts,
and each response of one row has such a response in the other row. Candidates come from MinHash signatures (Broder 1997)
of the library `datasketch`, cut into bands: two rows with an equal band are compared by their texts, so that no pair
below the threshold is reported. Rows whose shingles together are at the threshold are missed with the probability
`missed`, more similar rows with a smaller probability. Rows with equal texts are one text here: whatever is exact, or
judged the other way round, is no near duplicate.

The bands are sorted one at a time. An index of dictionaries would take a gigabyte for 200,000 rows.
"""

import importlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..common.signals import check as check_stopping
from ..data.columns import Columns, mixed
from ..data.filters import signatures
from ..errors import UserError
from ..records import Comparison
from .finding import Finding, grouped
from .hashing import WordHashes, shingles
from .rows import RowSet

PERMUTATIONS = 128
"""Hash functions of a signature."""
FEW = 32
"""Hash functions of the signature of the responses alone."""
RECALL = 0.99
"""Least probability with which a pair at the threshold is a candidate."""
PROMPT, RESPONSE = np.uint64(0x5DEECE66), np.uint64(0x1B873593)
"""Kinds of shingles, mixed into their hashes: words of a prompt never match words of a response."""
MOST_UNLIKE, MOST_READ = 5_000_000, 4096
"""Most pairs that are remembered as unlike, and most rows whose shingles are kept."""
MOST_COMPARED = 500
"""Most rows of a bucket that others are compared with: a bucket of thousands of unlike rows would never end."""


def exact(rows: RowSet) -> Finding:
    """Find rows that repeat an earlier row."""
    columns = rows.columns
    signature = mixed(signatures(columns, np.ones(len(columns.probability), dtype=bool)), columns.judge)
    first = first_of(signature)
    repeats = np.flatnonzero(first != np.arange(len(first)))
    return Finding(repeats, repeats, grouped(first, repeats), {"groups": len(np.unique(first[repeats]))})


def first_of(keys: np.ndarray) -> np.ndarray:
    """Number of the first entry with the key of each entry: [n]."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return np.asarray(first[inverse])


def text_keys(columns: Columns) -> np.ndarray:
    """Hash the prompt and the texts of each comparison, in any order: [G] uint64."""
    sums = np.zeros(len(columns.topic), dtype=np.uint64)
    np.add.at(sums, np.repeat(np.arange(len(sums)), np.diff(columns.first_response)), mixed(columns.response))
    return mixed(columns.prompt, sums)


class Signatures:
    """MinHash signatures of rows, fed row by row; one for each text.

    Args:
        rows: the rows.
        threshold: least similarity of near duplicates.

    Raises:
        UserError: the library `datasketch` is not installed.
    """

    def __init__(self, rows: RowSet, threshold: float) -> None:
        self.rows, self.threshold = rows, threshold
        self.band = band_size(threshold)
        self.first = first_of(text_keys(rows.columns))
        own = self.first == np.arange(len(rows))
        self.numbers = np.flatnonzero(own)
        self.place = np.where(own, np.cumsum(own) - 1, -1)
        self.matrix = np.zeros((len(self.numbers), PERMUTATIONS), dtype=np.uint32)
        self.answers = np.zeros((len(self.numbers), FEW), dtype=np.uint32)
        self.empty, self.few = minhash(), minhash(FEW)
        self._unlike: set[tuple[int, int]] = set()
        self._read: dict[int, list[np.ndarray]] = {}

    def add(self, number: int, comparison: Comparison, words: WordHashes) -> None:
        """Compute the signature of a row."""
        place = int(self.place[number])
        if place >= 0:
            prompt, *responses = parts_of(comparison, words)
            answered = np.unique(np.concatenate(responses))
            both = np.concatenate([prompt ^ PROMPT, answered ^ RESPONSE])
            self.matrix[place] = _hash_values(self.empty, both)
            self.answers[place] = _hash_values(self.few, answered)

    def finding(self, words: WordHashes) -> Finding:
        """Find near duplicates among the rows.

        Raises:
            StopRequested: the process was asked to stop.
        """
        parent = np.arange(len(self.numbers))
        for bucket in self._buckets():
            self._join(bucket, parent, words)
        root = np.array([_root(parent, place) for place in range(len(parent))], dtype=np.int64)
        head = self.numbers[root] if len(root) else self.numbers
        group = np.zeros(len(self.first), dtype=np.int64)
        group[self.numbers] = head
        group = group[self.first]
        near = np.flatnonzero(group != self.first)
        facts = {
            "groups": len(np.unique(group[near])),
            "threshold": self.threshold,
            "missed": missed(self.threshold, self.band),
        }
        return Finding(near, near, grouped(group, near), facts)

    def _buckets(self) -> Iterator[np.ndarray]:
        """Yield the places of rows with an equal band, at least two."""
        for start in range(0, PERMUTATIONS - self.band + 1, self.band):
            check_stopping()
            key = mixed(*self.matrix[:, start : start + self.band].T)
            order = np.argsort(key, kind="stable")
            edges = np.flatnonzero(np.diff(key[order])) + 1
            yield from (bucket for bucket in np.split(order, edges) if len(bucket) > 1)

    def _join(self, bucket: np.ndarray, parent: np.ndarray, words: WordHashes) -> None:
        """Join the similar rows of a bucket: each row is compared with the later rows of other groups."""
        roots = np.array([_root(parent, place) for place in bucket.tolist()])
        for number, place in enumerate(bucket[:MOST_COMPARED].tolist()):
            apart = np.flatnonzero(roots[number + 1 :] != roots[number]) + number + 1
            if not len(apart):
                continue
            check_stopping()
            for other in apart[self._likely(place, bucket[apart])].tolist():
                if roots[other] != roots[number] and self._are_similar(place, int(bucket[other]), words):
                    low, high = sorted((int(roots[number]), int(roots[other])))
                    parent[high] = low
                    roots[roots == high] = low

    def _likely(self, place: int, others: np.ndarray) -> np.ndarray:
        """Flag places whose signatures allow a similarity at the threshold: five standard deviations below at most."""
        agree = (self.matrix[others] == self.matrix[place]).mean(axis=1)
        # Rows of one long prompt are alike as a whole, and their responses tell the rows apart.
        answers = (self.answers[others] == self.answers[place]).mean(axis=1)
        least, lower = (self.threshold - 5 * _deviation(count) for count in (PERMUTATIONS, FEW))
        return np.asarray((agree >= least) & (answers >= lower))

    def _are_similar(self, first: int, second: int, words: WordHashes) -> bool:
        """Compare the texts of two places, each two once: most bands bring the same two places together."""
        if (first, second) in self._unlike:
            return False
        similar = _similar(self._parts(first, words), self._parts(second, words), self.threshold)
        if not similar and len(self._unlike) < MOST_UNLIKE:
            self._unlike.add((first, second))
        return similar

    def _parts(self, place: int, words: WordHashes) -> list[np.ndarray]:
        if place not in self._read:
            if len(self._read) >= MOST_READ:
                self._read.clear()
            self._read[place] = parts_of(self.rows.pool[int(self.numbers[place])], words)
        return self._read[place]


def _hash_values(empty: Any, hashes: np.ndarray) -> Any:
    """Return the signature of a set of hashes."""
    sketch = empty.copy()
    sketch.update_batch(hashes.astype(np.uint32).tolist())
    return sketch.hashvalues


def _deviation(count: int) -> float:
    """Largest standard deviation of the share of `count` hash values that agree."""
    return 0.5 / math.sqrt(count)


def minhash(permutations: int = PERMUTATIONS) -> Any:
    """Return an empty MinHash of the library `datasketch`.

    Raises:
        UserError: the library is not installed.
    """
    try:
        library = importlib.import_module("datasketch")
    except ImportError as error:
        message = f"near duplicates need the Python package datasketch, which cannot be imported: {error}"
        raise UserError(message, 'pip install "bradley[audit]", or add --no-near') from error
    # The shingles are hashes already.
    return library.MinHash(num_perm=permutations, seed=1, hashfunc=int, scheme="affine32")


def parts_of(comparison: Comparison, words: WordHashes) -> list[np.ndarray]:
    """Set of shingles of the prompt, then of each response: sorted arrays of uint64."""
    turns = [comparison.prompt, *(response.messages for response in comparison.responses)]
    return [_shingles([message.content for message in each], words) for each in turns]


def _shingles(texts: list[str], words: WordHashes) -> np.ndarray:
    found = [shingles(words(text)) for text in texts]
    return np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.uint64)


def _similar(first: list[np.ndarray], second: list[np.ndarray], threshold: float) -> bool:
    """Return True if the prompts are similar, and each response is similar to a response of the other row."""
    if jaccard(first[0], second[0]) < threshold:
        return False
    # Responses without a word, such as single signs, have nothing by which they could be alike.
    like = np.array([[jaccard(a, b) if len(a) else 0.0 for b in second[1:]] for a in first[1:]])
    return bool((like.max(axis=0) >= threshold).all() and (like.max(axis=1) >= threshold).all())


def jaccard(first: np.ndarray, second: np.ndarray) -> float:
    """Jaccard similarity of two sets of distinct numbers; 1 for two empty sets."""
    both = len(np.intersect1d(first, second, assume_unique=True))
    either = len(first) + len(second) - both
    return both / either if either else 1.0


def band_size(threshold: float) -> int:
    """Most hash values in a band with which a pair at the threshold is a candidate with probability `RECALL`."""
    return max(size for size in range(1, PERMUTATIONS) if size == 1 or missed(threshold, size) <= 1 - RECALL)


def missed(threshold: float, band: int) -> float:
    """Probability that a pair at the threshold shares no band: (1 - threshold^band)^bands."""
    return float((1 - threshold**band) ** (PERMUTATIONS // band))


def _root(parent: np.ndarray, place: int) -> int:
    """Root of a place in a forest, with the path halved on the way."""
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = int(parent[place])
    return place
