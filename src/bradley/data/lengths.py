"""Lengths of prompts and responses in characters, words and tokens, before any limit."""

from collections.abc import Callable, Iterable, Sequence

from ..records import Comparison, Judgment
from .render import Renderer
from .truncate import Ledger, fit

RENDERED_TOGETHER = 512
UNITS: dict[str, Callable[[str], int]] = {"characters": len, "words": lambda text: len(text.split())}
"""Units of text without a tokenizer. Words are separated by blanks, and say little about Chinese or Japanese."""
Values = dict[str, list[int]]


def text_lengths(comparisons: Iterable[Comparison]) -> dict[str, Values]:
    """Measure every part in every unit of `UNITS`, in the order of the comparisons."""
    found: dict[str, Values] = {unit: {} for unit in UNITS}
    for comparison in comparisons:
        prompt = "\n".join(message.content for message in comparison.prompt)
        for unit, size in UNITS.items():
            responses = [size(response.text) for response in comparison.responses]
            _add(found[unit], size(prompt), responses, comparison.judgments)
    return found


def token_lengths(
    comparisons: Sequence[Comparison], renderer: Renderer, *, training: bool
) -> tuple[dict[str, Values], Ledger]:
    """Measure every part in tokens, before any limit, and apply the limits as training does.

    Returns:
        Lengths; `total` is prompt and response together. The ledger of losses to rendering and limits.
    """
    found: Values = {}
    ledger = Ledger()
    # In chunks: a call of the tokenizer for each comparison would be slow, and a call for all would fill the memory.
    for start in range(0, len(comparisons), RENDERED_TOGETHER):
        chunk = comparisons[start : start + RENDERED_TOGETHER]
        for comparison, outcome in zip(chunk, renderer.outcomes(chunk), strict=True):
            fit(comparison, outcome, renderer.settings, training, ledger)
            if outcome.rendered is None:
                continue
            prompts, ids = outcome.rendered.prompt_tokens, outcome.rendered.ids
            responses = [len(row) - prompt for row, prompt in zip(ids, prompts, strict=True)]
            _add(found, prompts[0], responses, comparison.judgments)
            found.setdefault("total", []).extend(map(len, ids))
    return {"tokens": found}, ledger


def _add(values: Values, prompt: int, responses: list[int], judgments: Sequence[Judgment]) -> None:
    """Add the lengths of a comparison to the values of each part."""
    # A tie has neither a chosen nor a rejected side.
    decided = [judgment for judgment in judgments if not judgment.tie]
    new = {
        "prompt": [prompt],
        "response": responses,
        "chosen": [responses[judgment.better] for judgment in decided],
        "rejected": [responses[judgment.worse] for judgment in decided],
    }
    for part, lengths in new.items():
        values.setdefault(part, []).extend(lengths)
