"""What `bradley data` shows: what the files hold, how long it is, and the first rows as a model would read them."""

from collections.abc import Callable, Sequence
from typing import Any

from ..config import Data, Model, Render
from ..records import Comparison, Message
from .figures import quantiles
from .load import describe, load_splits
from .render import Renderer
from .tokenizer import make_tokenizer

ROWS_SHOWN = 3
CHARACTERS_SHOWN = 600
RENDERED_TOGETHER = 512
UNITS: dict[str, Callable[[str], int]] = {"characters": len, "words": lambda text: len(text.split())}
"""Units of text that need no tokenizer. Words are separated by blanks, so they say little of Chinese or Japanese."""


def preview(data: Data, render: Render, model: Model, seed: int) -> dict[str, Any]:
    """The training split of `data` as plain values.

    Returns:
        `report` as of `load_splits`; `lengths`, quantiles of the prompts, of the responses and, with a tokenizer, of
        both together, per unit; `rows`, the first comparisons as text.

    Raises:
        DataError, CheckpointError: as for training.
    """
    splits = load_splits(data, seed)
    renderer = make_renderer(splits.train, render, model) if model.path or model.tokenizer else None
    return {
        "report": splits.report,
        "lengths": text_lengths(splits.train) | (token_lengths(splits.train, renderer) if renderer else {}),
        "rows": [rendered_row(comparison, renderer) for comparison in splits.train[:ROWS_SHOWN]],
    }


def make_renderer(comparisons: Sequence[Comparison], render: Render, model: Model) -> Renderer:
    """The renderer of a run with these settings; without a model, a CLS token is what tells an encoder."""
    tokenizer = make_tokenizer(model, comparisons)
    return Renderer(tokenizer, render, causal=tokenizer.cls_token_id is None)


def text_lengths(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Lengths of prompts and responses in every unit of `UNITS`."""
    prompts = ["\n".join(message.content for message in comparison.prompt) for comparison in comparisons]
    responses = [response.text for comparison in comparisons for response in comparison.responses]
    return {
        unit: {"prompt": quantiles(map(count, prompts)), "response": quantiles(map(count, responses))}
        for unit, count in UNITS.items()
    }


def token_lengths(comparisons: Sequence[Comparison], renderer: Renderer) -> dict[str, Any]:
    """Lengths in tokens, before any limit; `total` is prompt and response together."""
    prompt: list[int] = []
    total: list[int] = []
    response: list[int] = []
    for start in range(0, len(comparisons), RENDERED_TOGETHER):
        for row in renderer.comparisons(comparisons[start : start + RENDERED_TOGETHER]):
            prompt.append(row.prompt_tokens)
            total += map(len, row.ids)
            response += [len(ids) - row.prompt_tokens for ids in row.ids]
    return {"tokens": {"prompt": quantiles(prompt), "response": quantiles(response), "total": quantiles(total)}}


def rendered_row(comparison: Comparison, renderer: Renderer | None) -> dict[str, str]:
    """The first judgment of a comparison as two texts; without a tokenizer, the turns with their roles."""
    write = renderer.text if renderer else plain_text
    judgment = comparison.judgments[0]
    chosen, rejected = (comparison.responses[index].messages for index in (judgment.better, judgment.worse))
    return {
        "id": comparison.id,
        "chosen": write(comparison.prompt, chosen),
        "rejected": write(comparison.prompt, rejected),
    }


def plain_text(prompt: tuple[Message, ...], response: tuple[Message, ...]) -> str:
    """The turns of a conversation, each after its role."""
    return "\n".join(f"{message.role}: {message.content}" for message in (*prompt, *response))


def show(found: dict[str, Any]) -> str:
    """A preview for the screen: the report, a table of lengths, and the first rows, long ones without their middle."""
    sources = [source for split in found["report"]["splits"].values() for source in split["sources"]]
    lines = [f"{source['path']}: {source['format']}, {source['rows']} rows" for source in sources]
    lines += [describe(found["report"]), "", f"{'length':<22}{'mean':>9}{'median':>9}{'95 %':>9}{'longest':>9}"]
    for unit, parts in found["lengths"].items():
        lines += [
            f"{part + ', ' + unit:<22}" + "".join(f"{n:9.0f}" for n in row.values()) for part, row in parts.items()
        ]
    for row in found["rows"]:
        lines += ["", *(f"--- {row['id']}, {side}\n{shortened(row[side])}" for side in ("chosen", "rejected"))]
    return "\n".join(lines)


def shortened(text: str) -> str:
    """A text of at most `CHARACTERS_SHOWN` characters, both ends kept."""
    half = CHARACTERS_SHOWN // 2
    left_out = len(text) - 2 * half
    return text if left_out <= 0 else f"{text[:half]} [... {left_out} characters ...] {text[-half:]}"
