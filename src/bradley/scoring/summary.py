"""Counts of scored and failed rows, and the summary at the end of `bradley score`."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..data.rows import on_one_line
from ..errors import DataError
from .scorer import Scored


class Counts(NamedTuple):
    """Counts of scored and failed rows.

    Attributes:
        numbers: counts by name. `rows` counts all rows, `scored` rows with a score, and `failed:WORD` rows without a
            score by reason word. `responses` counts responses with a score, and `unscored` the other responses of
            scored rows. `tokens` and `truncated` belong to responses with a score.
        example: the first row with an error; "" without errors.
    """

    numbers: Counter[str]
    example: str = ""


def count(places: Sequence[int], results: Sequence[Scored | str]) -> Counts:
    """Count the results of rows.

    Args:
        places: number of each row from 1, for the example.
        results: result of each row, or the reason for a missing score.
    """
    numbers = Counter({"rows": len(places)})
    example = ""
    for at, result in zip(places, results, strict=True):
        if isinstance(result, str):
            numbers["failed:" + result.partition(":")[0]] += 1
            example = example or f"row {at}: {result}"
        else:
            kept = [k for k, score in enumerate(result.scores) if score is not None]
            numbers.update(scored=1, responses=len(kept), unscored=len(result.scores) - len(kept))
            numbers.update(tokens=sum(result.tokens[k] for k in kept), truncated=sum(result.truncated))
            example = example or (f"row {at}: {result.error}" if result.error else "")
    return Counts(numbers, example)


def added(counts: Iterable[Counts]) -> Counts:
    """Add up counts, and keep the first example."""
    numbers: Counter[str] = Counter()
    example = ""
    for one in counts:
        numbers.update(one.numbers)
        example = example or one.example
    return Counts(numbers, example)


def summary(counts: Counts, seconds: float, output: str) -> dict[str, Any]:
    """Summarise the counts of a whole output as plain data.

    Args:
        seconds: duration of the run.
        output: output file, or "-".

    Raises:
        DataError: no row could be scored.
    """
    numbers = counts.numbers
    if not numbers["scored"]:
        hint = f"each row of {output} says why, in error" if output != "-" else "each row says why, in error"
        message = f"none of {numbers['rows']} rows could be scored; {on_one_line(counts.example)}"
        raise DataError(message, on_one_line(hint))
    failed = {name.removeprefix("failed:"): n for name, n in numbers.items() if name.startswith("failed:")}
    kept = {name: numbers[name] for name in ("rows", "scored", "responses", "unscored", "tokens", "truncated")}
    return {"output": output, **kept, "failed": failed, "example": counts.example, "seconds": round(seconds, 1)}


def show(found: dict[str, Any]) -> str:
    """Format a summary in a line or two."""
    text = (
        f"{found['rows']} rows, {found['responses']} scores, {found['truncated']} of them of truncated conversations, "
        f"{found['seconds']} s: {on_one_line(found['output'])}"
    )
    if not found["example"]:
        return text
    causes = ", ".join(f"{word} {number}" for word, number in found["failed"].items()) or "none"
    return (
        f"{text}\nrows without a score: {causes}; single responses without: {found['unscored']}; "
        f"such as {on_one_line(found['example'])}"
    )
