"""Token statistics of a split, for `data_report.json`."""

from typing import Any

import numpy as np

from .report import histogram, quantiles
from .token_store import TokenStore

LENGTH_BINS = 20
"""Most bins of a histogram of token lengths."""


def token_figures(store: TokenStore) -> dict[str, Any]:
    """Compute token statistics of a split: lengths, the ledger of losses, parts dropped by the template, and kinds."""
    full = store.full_lengths()
    # `response_tokens` counts before any cut, so a response cut to the limit may be longer than what was kept.
    prompt = full - np.asarray(store.response_tokens).clip(max=full)
    return {
        "total": quantiles(full),
        "response": quantiles(np.asarray(store.response_tokens)),
        "prompt": quantiles(prompt),
        "histograms": token_histograms(store, prompt),
        "unique_tokens": len(store.tokens),
        "full_tokens": int(full.sum()),
        "ledger": store.ledger.to_json(),
        "unread": store.ledger.unread.to_json(),
        "kinds": dict(store.ledger.kinds),
    }


def token_histograms(store: TokenStore, prompt: np.ndarray) -> dict[str, Any]:
    """Count token lengths in histograms: the prompt of each comparison, and both sides of each judgment with a
    preference.

    Response lengths exclude the prompt and are counted before any cut.

    Args:
        store: the split.
        prompt: [R] prompt tokens of each response.
    """
    # A tie has neither a chosen nor a rejected side.
    decided = np.asarray(store.probability) != 0.5
    first = np.repeat(store.first_response[:-1], np.diff(store.first_judgment))[decided]
    sides = {"chosen": first + store.better[decided], "rejected": first + store.worse[decided]}
    return {
        "prompt": histogram(prompt[store.first_response[:-1]], LENGTH_BINS),
        **{side: histogram(store.response_tokens[places], LENGTH_BINS) for side, places in sides.items()},
    }
