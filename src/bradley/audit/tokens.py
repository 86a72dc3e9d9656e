"""Tokens: lengths as a model reads the rows, and pairs that become equal by tokenising or truncation."""

from array import array
from typing import Any

import numpy as np

from ..data.lengths import RENDERED_TOGETHER
from ..data.render import Renderer
from ..data.report import quantiles
from ..data.truncate import Ledger, fit
from .finding import EXAMPLES, Finding
from .rows import RowSet


class TokenFigures:
    """Token counts, and rows with a judgment between equal tokens.

    Attributes:
        lengths: tokens by part, before any limit.
        equal: numbers of comparisons in which a judgment is between equal token ids.
        unfitted: comparisons that cannot be rendered, or hold a response above the limits.
    """

    def __init__(self) -> None:
        self.lengths = {part: array("l") for part in ("prompt", "chosen", "rejected", "total")}
        self.equal: list[int] = []
        self.unfitted = 0
        self._ledger = Ledger()

    def add(self, rows: RowSet, start: int, renderer: Renderer) -> int:
        """Render `RENDERED_TOGETHER` rows from `start`, and return their number."""
        chunk = [rows.pool[number] for number in range(start, min(start + RENDERED_TOGETHER, len(rows)))]
        for number, (comparison, outcome) in enumerate(zip(chunk, renderer.outcomes(chunk), strict=True), start=start):
            fitted = fit(comparison, outcome, renderer.settings, False, self._ledger)
            if outcome.rendered is None or fitted is None:
                self.unfitted += 1
                continue
            self.lengths["prompt"].append(outcome.rendered.prompt_tokens[0])
            self.lengths["total"].extend(map(len, outcome.rendered.ids))
            decided = [judgment for judgment in comparison.judgments if not judgment.tie]
            self.lengths["chosen"].extend(fitted.response_tokens[judgment.better] for judgment in decided)
            self.lengths["rejected"].extend(fitted.response_tokens[judgment.worse] for judgment in decided)
            if any(fitted.ids[judgment.better] == fitted.ids[judgment.worse] for judgment in comparison.judgments):
                self.equal.append(number)
        return len(chunk)

    def finding(self) -> Finding:
        """Rows with a judgment between equal tokens."""
        found = np.array(self.equal, dtype=np.int64)
        return Finding(found, found, [[number] for number in self.equal[:EXAMPLES]], {"unfitted": self.unfitted})

    def quantiles(self) -> dict[str, Any]:
        """Quantiles of tokens by part."""
        return {part: quantiles(values) for part, values in self.lengths.items() if values}
