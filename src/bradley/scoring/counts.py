"""What became of rows: counted part by part, added up, and said at the end."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..errors import DataError
from .scorer import Scored


class Counts(NamedTuple):
    """What became of some rows.

    Attributes:
        numbers: `rows`; `scored`, those with a score; `failed:WORD`, those without, by reason word; `responses` with a
            score and `unscored` ones beside them; `tokens` and `truncated` of the responses with a score.
        example: the first row with an error; "" for none.
    """

    numbers: Counter[str]
    example: str = ""


def count(places: Sequence[int], results: Sequence[Scored | str]) -> Counts:
    """What became of the rows with these numbers."""
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
    """All of them together, with the first example."""
    numbers: Counter[str] = Counter()
    example = ""
    for one in counts:
        numbers.update(one.numbers)
        example = example or one.example
    return Counts(numbers, example)


def summary(counts: Counts, seconds: float, output: str) -> dict[str, Any]:
    """The counts of a whole output as plain data.

    Raises:
        DataError: there is no row that could be scored.
    """
    numbers = counts.numbers
    if not numbers["scored"]:
        hint = f"each row of {output} says why, in error" if output != "-" else "each row says why, in error"
        raise DataError(f"none of {numbers['rows']} rows could be scored; {counts.example}", hint)
    failed = {name.removeprefix("failed:"): n for name, n in numbers.items() if name.startswith("failed:")}
    kept = {name: numbers[name] for name in ("rows", "scored", "responses", "unscored", "tokens", "truncated")}
    return {"output": output, **kept, "failed": failed, "example": counts.example, "seconds": round(seconds, 1)}


def show(found: dict[str, Any]) -> str:
    """A summary in a line or two."""
    text = (
        f"{found['rows']} rows, {found['responses']} scores, {found['truncated']} of them of truncated conversations, "
        f"{found['seconds']} s: {found['output']}"
    )
    if not found["example"]:
        return text
    causes = ", ".join(f"{word} {number}" for word, number in found["failed"].items()) or "none"
    return (
        f"{text}\nrows without a score: {causes}; single responses without: {found['unscored']}; "
        f"such as {found['example']}"
    )
