"""Overlap: prompts that several files share, such as training data and a benchmark.

Two prompts are the same if `data.columns.topic` says so: equal turns apart from outer blanks. Prompts with the same
words differ at most in case, blanks, punctuation, system turns and the names of speakers.
"""

from collections.abc import Sequence

import numpy as np

from .duplicates import text_keys
from .finding import EXAMPLES, Finding
from .rows import RowSet


def shared(rows: RowSet, others: Sequence[RowSet]) -> Finding:
    """Find rows whose prompt, or whose prompt's words, another set holds too.

    Args:
        rows: the audited set.
        others: sets to look for the prompts in, benchmarks among them.
    """
    found = np.zeros(len(rows), dtype=bool)
    facts = []
    for other in others:
        same, near = _in_both(rows, other, "topic"), _in_both(rows, other, "near_prompt")
        found |= same | near
        facts.append(
            {
                "with": other.name,
                "prompts": len(np.unique(rows.columns.topic[same])),
                "rows": int(same.sum()),
                "rows_of_same_words": int((same | near).sum()),
                "rows_of_same_texts": int(np.isin(text_keys(rows.columns), text_keys(other.columns)).sum()),
                "rows_there": int(_in_both(other, rows, "topic").sum()),
            }
        )
    numbers = np.flatnonzero(found)
    return Finding(numbers, numbers, [[int(number)] for number in numbers[:EXAMPLES]], {"sets": facts})


def _in_both(rows: RowSet, other: RowSet, column: str) -> np.ndarray:
    """Flag the rows whose value of a column of hashes occurs in the other set: [G] bool."""
    mine, theirs = (np.asarray(getattr(each.columns, column)) for each in (rows, other))
    return np.isin(mine, theirs)
