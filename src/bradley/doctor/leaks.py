"""Probes of the rows: training rows in an evaluation set, a response inside its rival, responses equal as read."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..data.table import Selection, select
from ..data.token_store import TokenStore
from ..evaluate.expectation import Expectation
from ..evaluate.intervals import interval_dict
from ..records import Comparison
from .results import Advice, ProbeResult, found, judged

MOST_REPEATS = 0.005
"""Share of evaluation rows that may repeat a training row: a memorised row moves the accuracy by half of this."""
SHORTEST = 20
"""Characters from which a text inside another is no coincidence."""
MOST_EQUAL = 0.01
"""Share of judgments that may be on responses with equal token ids."""
REPEATS = Advice(
    "training rows in evaluation",
    "the sets were split by row instead of by prompt, or one file was given twice",
    "take the rows out with --data.leaked drop, or hold prompts out of train: leave data.valid out",
    "data",
)
INSIDE = Advice(
    "one response inside the other",
    "a text of one side was copied into the other, or a column holds the whole conversation",
    "look at the pairs with `bradley data FILE`, and name the columns with data.columns",
    "data",
)
EQUAL = Advice(
    "responses equal as read",
    "a limit or the template removes what tells the responses apart",
    "raise render.max_tokens, or choose a render.template that writes the whole response",
    "data",
)


def repeated_rows(
    train: Sequence[Comparison], evals: Mapping[str, Sequence[Comparison]], policy: str = "error"
) -> ProbeResult:
    """Count evaluation rows with the words of a training row: prompt and all responses, in any order.

    Args:
        train: training rows.
        evals: evaluation rows by set.
        policy: `data.leaked`; under "error" a run refuses shared prompts too.
    """
    known = _selection(train)
    near, topics = known.column("near"), known.topics()
    counts, shared, example = {}, 0, ""
    for name, rows in evals.items():
        chosen = _selection(rows)
        repeats = np.isin(chosen.column("near"), near)
        counts[name] = (int(repeats.sum()), len(rows))
        shared += int(np.isin(chosen.column("topic"), topics).sum())
        if not example and repeats.any():
            example = f", such as {rows[int(np.flatnonzero(repeats)[0])].id} of {name}"
    fine = all(count <= MOST_REPEATS * total for count, total in counts.values())
    refused = policy == "error" and shared > 0
    sizes = ", ".join(f"{count:,} of {total:,} rows of {name}" for name, (count, total) in counts.items())
    prompts = f"; {shared:,} rows share a prompt with training, at which the run stops" if refused else ""
    return found(
        REPEATS,
        fine and not refused,
        f"{sizes or 'no evaluation set'}{example}{prompts}",
        f"at most {MOST_REPEATS:.1%} of a set",
        "a model remembers its training rows, and accuracy on these says nothing about others",
        n=sum(total for _, total in counts.values()),
        value=max((count / total for count, total in counts.values() if total), default=None),
    )


def contained(rows: Sequence[Comparison], confidence: float) -> ProbeResult:
    """Measure the share of judged pairs in which the whole of one response stands inside the other.

    Args:
        rows: training and evaluation rows.
        confidence: of the interval behind the verdict.
    """
    inside, prompts = [], []
    for row in rows:
        texts = [response.text.strip() for response in row.responses]
        for judgment in row.judgments:
            shorter, longer = sorted((texts[judgment.better], texts[judgment.worse]), key=len)
            inside.append(float(len(shorter) >= SHORTEST and shorter != longer and shorter in longer))
            prompts.append(row.prompt_key)
    why = f"people write each response anew; a text below {SHORTEST} characters does not count"
    expected = Expectation("within", 0.0, 0.05, why)
    return judged(INSIDE, interval_dict(inside, prompts), expected, confidence, "share")


def equal_as_read(stores: Mapping[str, tuple[TokenStore, Sequence[Comparison]]]) -> ProbeResult:
    """Measure the share of judgments on responses of different texts and equal token ids.

    Args:
        stores: token store and rows of each set, matched by `TokenStore.number`.
    """
    equal = total = 0
    for store, rows in stores.values():
        # Training leaves such judgments out of the store, and counts comparisons without any other judgment.
        lost = store.ledger.causes.get("identical_ids", {"comparisons": 0})["comparisons"]
        equal, total = equal + lost, total + lost
        for place in range(len(store)):
            texts = [response.messages for response in rows[int(store.number[place])].responses]
            for judgment in store.judgments(place):
                better, worse = (store.response_ids(place, side) for side in (judgment.better, judgment.worse))
                total += 1
                equal += texts[judgment.better] != texts[judgment.worse] and np.array_equal(better, worse)
    return found(
        EQUAL,
        equal <= MOST_EQUAL * total,
        f"{equal:,} of {total:,} judgments",
        f"at most {MOST_EQUAL:.0%}",
        "two responses with equal token ids have equal scores, whatever the label",
        n=total,
        value=equal / total if total else None,
    )


def _selection(rows: Sequence[Comparison]) -> Selection:
    return rows if isinstance(rows, Selection) else select(rows)
