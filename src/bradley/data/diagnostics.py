"""Diagnostics: runs on changed data, with a result known in advance for a sound set-up.

Training, evaluation sets and test change likewise, so the figure has an exact argument (see
`evaluate/expected_accuracy.py`). A diagnostic trains no model for use.

- `label_shuffle`: labels of a comparison are reversed with probability r. Accuracy on labels reversed likewise is
  a (1 - r) + (1 - a) r for a model of accuracy a: exactly 1/2 at r = 1/2, unless labels reach the model by another way
  than the texts.
- `prompt_only`: every response is replaced by a response to another prompt, drawn alike for both sides. No response
  says anything about the label: 1/2. Two different texts, since equal texts have no gradient and could never fail.
- `random_negatives`: every response but the best is replaced by the best response to another prompt. Both sides are
  drawn from the same texts, so only the fit to the prompt tells the sides apart: above 1/2 for a model that reads the
  prompt.
- `length_matched`: judgments on responses of like length in tokens. Above 1/2 for a model that reads more than
  lengths.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..common.seeds import generator
from ..common.signals import check as check_stopping
from ..config import Data
from ..errors import DataError, UserError
from ..records import Comparison, Judgment, Response
from .formats.benchmarks.base import TAG
from .lengths import RENDERED_TOGETHER
from .load import Splits
from .render import Renderer
from .table import select
from .truncate import kind_of

DRAWS = 100
"""Draws for a response of another text before the donors count as too few."""


@dataclass(slots=True)
class Changes:
    """Effect of a diagnostic on a split.

    Attributes:
        of: comparisons before.
        changed: comparisons with another text, label or number of judgments.
        judgments_left_out: judgments left out in comparisons that remain.
        left_out: comparisons left out, by reason.
    """

    of: int = 0
    changed: int = 0
    judgments_left_out: int = 0
    left_out: dict[str, int] = field(default_factory=dict)

    def leave_out(self, reason: str) -> None:
        """Count a comparison left out."""
        self.left_out[reason] = self.left_out.get(reason, 0) + 1


def diagnose(splits: Splits, data: Data, renderer: Renderer | None) -> Splits:
    """Change every split by `data.diagnostic`, and count the changes in the report; "none" changes nothing.

    Args:
        splits: comparisons of a run.
        data: settings with the diagnostic, the rate, the threshold and the seed.
        renderer: renders responses for `length_matched`; None without a tokenizer.

    Raises:
        DataError: a split has too few prompts to draw responses from, or no comparison is left.
        UserError: `length_matched` without a tokenizer.

    Example:
        splits = bradley.load_splits(data, seed=0)
        shuffled = diagnose(splits, bradley.Data(diagnostic="label_shuffle"), None)
        print(shuffled.report["splits"]["train"]["diagnostic"]["changed"])
    """
    if data.diagnostic == "none":
        return splits
    if data.diagnostic == "length_matched" and renderer is None:
        raise UserError("data.diagnostic = length_matched counts tokens", "add --model.tokenizer or --model.path")
    made: dict[str, Sequence[Comparison]] = {}
    reports: dict[str, dict[str, Any]] = {}
    for name, rows in splits.by_name.items():
        changes = Changes(of=len(rows))
        made[name] = select(_untagged(_changed(rows, name, data, renderer, changes)))
        if not made[name]:
            raise DataError(
                f"data.diagnostic = {data.diagnostic} leaves no comparison of {name}: {_reasons(changes)}",
                "give more data, or raise data.diagnostic_threshold"
                if data.diagnostic == "length_matched"
                else "give data with preferences",
            )
        reports[name] = {**splits.report["splits"].get(name, {}), **_account(made[name], changes, data)}
    report = {**splits.report, "diagnostic": data.diagnostic, "splits": {**splits.report["splits"], **reports}}
    train, test = made.pop("train"), made.pop("test", [])
    return Splits(train, test=test, evals=made, report=report)


def describe_changes(report: dict[str, Any]) -> list[str]:
    """Describe the changes of a diagnostic from the report of the splits, a line for each split."""
    lines = []
    for name, split in report["splits"].items():
        if found := split.get("diagnostic"):
            left = f"; left out {_reasons(Changes(left_out=found['left_out']))}" if found["left_out"] else ""
            judged = found["judgments_left_out"]
            left += f"; left out {judged:,} judgments of the others" if judged else ""
            counts = f"{found['changed']:,} of {found['of']:,} {name} comparisons changed"
            lines.append(f"diagnostic   {found['kind']}: {counts}{left}")
    return lines


def _changed(
    rows: Sequence[Comparison], split: str, data: Data, renderer: Renderer | None, changes: Changes
) -> Iterator[Comparison]:
    """Iterate over the changed comparisons of a split."""
    # Draws depend on the split, so that train and valid never get equal coins for rows of equal numbers.
    rng = generator(data.diagnostic_seed, "diagnostic", data.diagnostic, split)
    if data.diagnostic == "label_shuffle":
        return shuffle_labels(rows, data.diagnostic_rate, rng, changes)
    if data.diagnostic == "length_matched":
        assert renderer is not None
        return match_lengths(rows, renderer, data.diagnostic_threshold, changes)
    donors = Donors(rows, rng, split)
    if data.diagnostic == "prompt_only":
        return replace_responses(rows, donors, changes)
    return replace_negatives(rows, donors, changes)


def shuffle_labels(
    rows: Sequence[Comparison], rate: float, rng: np.random.Generator, changes: Changes
) -> Iterator[Comparison]:
    """Reverse all judgments of a comparison with probability `rate`, independently for each comparison."""
    for row, coin in zip(rows, rng.random(len(rows)), strict=True):
        changes.changed += coin < rate
        yield row.flip() if coin < rate else row


def replace_responses(rows: Sequence[Comparison], donors: "Donors", changes: Changes) -> Iterator[Comparison]:
    """Replace every response by a response to another prompt; labels stay."""
    for row in rows:
        changes.changed += 1
        yield replace(row, responses=tuple(donors.draw(row, [], len(row.responses), best=False)))


def replace_negatives(rows: Sequence[Comparison], donors: "Donors", changes: Changes) -> Iterator[Comparison]:
    """Keep the best response, and replace the others by the best responses to other prompts."""
    for row in rows:
        best = preferred(row)
        if best is None:
            changes.leave_out("no best response")
            continue
        changes.changed += 1
        kept = row.responses[best]
        drawn = iter(donors.draw(row, [kept], len(row.responses) - 1, best=True))
        # The true reward of a drawn response to this prompt is unknown, and the old judgments concern other texts.
        yield replace(
            row,
            responses=tuple(replace(kept, score=None) if i == best else next(drawn) for i in range(len(row.responses))),
            judgments=tuple(Judgment(best, other) for other in range(len(row.responses)) if other != best),
            rank=None,
        )


def match_lengths(
    rows: Sequence[Comparison], renderer: Renderer, threshold: int, changes: Changes
) -> Iterator[Comparison]:
    """Keep judgments on responses with lengths that differ by less than `threshold` tokens, before truncation."""
    for start in range(0, len(rows), RENDERED_TOGETHER):
        check_stopping()
        chunk = [rows[i] for i in range(start, min(start + RENDERED_TOGETHER, len(rows)))]
        for row, outcome in zip(chunk, renderer.outcomes(chunk), strict=True):
            if outcome.rendered is None:
                changes.leave_out("cannot be rendered")
                continue
            # Rows share the prompt: lengths with the prompt differ by as much as lengths without.
            sizes = [len(ids) for ids in outcome.rendered.ids]
            near = tuple(j for j in row.judgments if abs(sizes[j.better] - sizes[j.worse]) < threshold)
            if not near:
                changes.leave_out("unlike lengths")
                continue
            if len(near) < len(row.judgments):
                changes.changed += 1
                changes.judgments_left_out += len(row.judgments) - len(near)
                # A ranking would bring the left out judgments back.
                row = replace(row, judgments=near, rank=None)
            yield row


def preferred(row: Comparison) -> int | None:
    """Return the index of the first response that is preferred to another and never to any inferior; None without."""
    decided = [j for j in row.judgments if not j.tie]
    worse = {j.worse for j in decided}
    return next((j.better for j in decided if j.better not in worse), None)


class Donors:
    """Responses to other prompts, drawn at random from the same split.

    Responses of a comparison are all drawn by the same rule, so the order of the draws says nothing about the label.

    Args:
        rows: comparisons of the split.
        rng: source of the draws.
        split: name of the split, for messages.
    """

    def __init__(self, rows: Sequence[Comparison], rng: np.random.Generator, split: str) -> None:
        self.rows, self.rng, self.split = rows, rng, split
        # Numbers of comparisons by kind: a template refuses token ids beside turns, and tool calls without tools.
        self._by_kind: dict[str, list[int]] = {}
        for number, row in enumerate(rows):
            self._by_kind.setdefault(_kind(row), []).append(number)

    def draw(self, row: Comparison, taken: Sequence[Response], count: int, *, best: bool) -> list[Response]:
        """Draw responses to other prompts than the prompt of `row`, of different texts.

        Args:
            row: comparison in need of responses.
            taken: responses with texts to avoid.
            count: number of responses.
            best: True to draw best responses alone.

        Raises:
            DataError: too few prompts or texts to draw from.
        """
        numbers, seen, drawn = self._by_kind[_kind(row)], {r.messages for r in taken}, []
        for _ in range(DRAWS * count):
            donor = self.rows[numbers[int(self.rng.integers(len(numbers)))]]
            place = preferred(donor) if best else int(self.rng.integers(len(donor.responses)))
            if donor.prompt_key == row.prompt_key or place is None or donor.responses[place].messages in seen:
                continue
            seen.add(donor.responses[place].messages)
            drawn.append(replace(donor.responses[place], score=None))
            if len(drawn) == count:
                return drawn
        raise DataError(
            f"comparison {row.id} of {self.split} needs {count} responses to other prompts, and {DRAWS * count} draws "
            f"among {len(numbers):,} comparisons found {len(drawn)}",
            "give data with more prompts and different responses",
        )


def _kind(row: Comparison) -> str:
    return f"{kind_of(row)}{' with arguments' if row.template_args else ''}"


def _untagged(rows: Iterator[Comparison]) -> Iterator[Comparison]:
    """Take the mark of a benchmark off: figures of a benchmark mean nothing on changed rows."""
    for row in rows:
        yield replace(row, tags={k: v for k, v in row.tags.items() if k != TAG}) if TAG in row.tags else row


def _account(rows: Sequence[Comparison], changes: Changes, data: Data) -> dict[str, Any]:
    """Return the fields of a split's report that a diagnostic changes."""
    counts = [(len(row.judgments), len(row.responses), row.prompt_key) for row in rows]
    return {
        "comparisons": len(counts),
        "judgments": sum(judgments for judgments, _, _ in counts),
        "responses": sum(responses for _, responses, _ in counts),
        "prompts": len({key for _, _, key in counts}),
        "diagnosed_away": changes.of - len(counts),
        "diagnostic": {
            "kind": data.diagnostic,
            "seed": data.diagnostic_seed,
            "of": changes.of,
            "changed": int(changes.changed),
            "judgments_left_out": changes.judgments_left_out,
            "left_out": changes.left_out,
        },
    }


def _reasons(changes: Changes) -> str:
    return ", ".join(f"{count:,} with {reason}" for reason, count in changes.left_out.items())
