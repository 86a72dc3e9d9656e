"""What became of rows: counted part by part, added up, and said at the end."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..errors import DataError
from .scorer import Scored


class Counts(NamedTuple):
    """What became of some rows.

    Attributes:
        numbers: `rows`, `scored`, `responses`, `tokens`, `truncated` (responses), and `failed:WORD` by reason word.
        example: the first row that could not be scored, and why; "" for none.
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
            found = {"responses": len(result.scores), "tokens": sum(result.tokens), "truncated": sum(result.truncated)}
            numbers.update(scored=1, **found)
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
    kept = {name: numbers[name] for name in ("rows", "scored", "responses", "tokens", "truncated")}
    return {"output": output, **kept, "failed": failed, "example": counts.example, "seconds": round(seconds, 1)}


def show(found: dict[str, Any]) -> str:
    """A summary in a line or two."""
    text = (
        f"{found['rows']} rows, {found['responses']} scores, {found['truncated']} of them of truncated conversations, "
        f"{found['seconds']} s: {found['output']}"
    )
    if not found["failed"]:
        return text
    causes = ", ".join(f"{word} {number}" for word, number in found["failed"].items())
    return f"{text}\nrows without a score: {causes}, such as {found['example']}"
