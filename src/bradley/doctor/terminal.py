"""Text of an examination for the terminal: a line for each probe, then cause and remedy of each failure."""

from collections.abc import Iterator, Sequence

from .results import FALSE_ALARMS, ProbeResult


def show(results: Sequence[ProbeResult], notes: Sequence[str]) -> str:
    """Format an examination as lines.

    Example:
        print(show(examination.results, examination.notes))
    """
    return "\n".join([*_lines(results), *_failures(results), "", *_ending(results), *notes])


def _lines(results: Sequence[ProbeResult]) -> Iterator[str]:
    width = max((len(result.name) for result in results), default=0)
    for result in results:
        needed = f"; about {result.needed:,} prompts would decide" if result.needed else ""
        yield f"{result.verdict:<9}  {result.name:<{width}}  {result.measured}; expected {result.expected}{needed}"


def _failures(results: Sequence[ProbeResult]) -> Iterator[str]:
    for result in results:
        if result.verdict == "fail":
            yield from (
                "",
                f"FAILED     {result.name}: {result.measured}",
                f"expected   {result.expected}, because {result.why}",
                f"cause      {result.cause}",
                f"remedy     {result.remedy}",
            )


def _ending(results: Sequence[ProbeResult]) -> Iterator[str]:
    counts = {word: sum(result.verdict == word for result in results) for word in ("pass", "fail", "undecided")}
    yield f"{counts['pass']} passed, {counts['fail']} failed, {counts['undecided']} undecided"
    if counts["undecided"]:
        yield "undecided is no pass: give more rows, or more --minutes"
    yield f"a sound set-up fails a probe of shares once in {1 / FALSE_ALARMS:,.0f} examinations"
