"""Refusals: responses that decline, by a stated list of English phrases at their beginning."""

from typing import Any

import numpy as np

from ..evaluate.features import REFUSAL_HEAD, REFUSALS
from ..evaluate.intervals import interval_figures


def refusals(better: np.ndarray, worse: np.ndarray, prompt: np.ndarray) -> dict[str, Any]:
    """Shares of refusals among chosen and rejected responses, ready for JSON.

    Args:
        better, worse: 1 for a refusal, by decided judgment [J].
        prompt: cluster of each judgment [J].

    Returns:
        `chosen` and `rejected`, with intervals; `difference`, chosen minus rejected, paired; the `phrases`, and the
        number of `characters` at the start of a response in which phrases are looked for.
    """
    return {
        "chosen": interval_figures(better, prompt),
        "rejected": interval_figures(worse, prompt),
        "difference": interval_figures(better - worse, prompt, (-1.0, 1.0)),
        "phrases": list(REFUSALS),
        "characters": REFUSAL_HEAD,
    }
