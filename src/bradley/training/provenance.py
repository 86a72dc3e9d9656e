"""Where a model comes from: what every checkpoint of a run says of its data, settings and software."""

import hashlib
import platform
from typing import Any, NamedTuple

import numpy as np
import torch

from .. import __version__
from ..config import Config
from ..data.load import Splits
from ..data.render import Renderer
from ..data.store import TokenStore
from ..model.parity import Conversation, draw
from .evaluation import SELECTION

COUNTS = ("rows", "comparisons", "judgments", "responses", "prompts")
LEFT_OUT = ("mixed_away", "capped_away", "grouped_away", "sampled_away")
TRAINED_ON = ("tokens", "segments", "first_response", "better", "worse", "probability", "margin", "weight", "rank")
"""Arrays of a store that decide what is learned from it."""


class Provenance(NamedTuple):
    """What a model folder says of its origin, the same at every step of a run.

    Attributes:
        facts: fields of its card: `versions`, `data`, `config`.
        sample: conversations whose scores go into the card.
    """

    facts: dict[str, Any]
    sample: list[Conversation]


def provenance(config: Config, splits: Splits, renderer: Renderer, train: TokenStore) -> Provenance:
    """The origin of a run's models; the sample is of the validation set, or of training where there is none."""
    data = {
        "train_sha256": trained_on(train),
        "splits": {name: short_report(split) for name, split in splits.report["splits"].items() if "rows" in split},
    }
    facts = {"versions": versions(), "data": data, "config": config.model_dump(mode="json")}
    return Provenance(facts, draw(splits.evals.get(SELECTION, splits.train), renderer, config.seed))


def versions() -> dict[str, str]:
    """Of bradley and what computes scores for it."""
    import transformers

    return {
        "bradley": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def short_report(split: dict[str, Any]) -> dict[str, Any]:
    """A split of the data report in a few numbers: counts, comparisons left out by reason, and each source."""
    reasons = {reason: entry["count"] for reason, entry in split["rejected"].items()}
    reasons |= {check: finding["dropped"] for check, finding in split["findings"].items()}
    reasons |= {reason: split[reason] for reason in LEFT_OUT}
    reasons |= {cause: row["dropped"] for cause, row in split.get("tokens", {}).get("ledger", {}).items()}
    return {
        **{count: split[count] for count in COUNTS},
        "left_out": {reason: count for reason, count in reasons.items() if count},
        "sources": split["sources"],
    }


def trained_on(store: TokenStore) -> str:
    """SHA-256 of what a store teaches: its token ids, and what was judged of them."""
    digest = hashlib.sha256()
    for name in TRAINED_ON:
        array = np.ascontiguousarray(getattr(store, name))
        digest.update(f"{name} {array.dtype} {len(array)}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()
