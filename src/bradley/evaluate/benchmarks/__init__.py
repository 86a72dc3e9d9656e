"""Public benchmarks of reward models: scored rows in, the published figures out.

Each suite has a file with the published scheme and the paper. A result holds `benchmark`, `scheme`, `figures` and
`notes`. A figure holds `name`, `scheme`, `value`, `low`, `high` (95 %, clustered by prompt), `n` and `clusters`;
headline figures come first. The scheme `published` is the authors' rule; `ties half` counts equal scores one half.
"""

import re
from collections.abc import Sequence
from typing import Any

from ...errors import UserError
from ...records import ScoredComparison
from . import evalbiasbench, hhh, judgebench, llmbar, rewardbench, rewardbench2, rm_bench, rmb
from .figures import Result
from .suite import Suite

__all__ = ["SUITES", "TAG", "Suite", "benchmark_figures", "headlines", "suite_of"]

TAG = "benchmark"
"""Tag of every row of a benchmark: the name of the suite."""
SUITES: dict[str, Suite] = {
    module.SUITE.name: module.SUITE
    for module in (rewardbench, rewardbench2, rm_bench, rmb, judgebench, llmbar, hhh, evalbiasbench)
}
"""Every known benchmark, by name."""


def suite_of(rows: Sequence[ScoredComparison]) -> Suite | None:
    """Return the suite that the tag `benchmark` of all rows names; None for other rows."""
    names = {row.tags.get(TAG, "") for row in rows}
    return SUITES.get(names.pop()) if len(names) == 1 else None


def benchmark_figures(rows: Sequence[ScoredComparison]) -> dict[str, Result]:
    """Return `{"benchmark": result}` for the rows of a benchmark, and an empty dict for other rows.

    Raises:
        DataError: a score is not a finite number, or a row lacks what the suite needs.
    """
    suite = suite_of(rows)
    return {} if suite is None else {TAG: suite.aggregate(rows)}


def headlines(result: Result) -> list[tuple[str, dict[str, Any]]]:
    """Return the headline figures of a result, each with a key for metrics, such as `chat_hard`.

    Each name comes once, in the scheme that comes first.

    Raises:
        UserError: a result of an unknown benchmark.
    """
    name = result["benchmark"]
    if name not in SUITES:
        raise UserError(f"{name} is no known benchmark", f"known: {', '.join(SUITES)}")
    found: dict[str, dict[str, Any]] = {}
    for figure in result["figures"]:
        if figure["name"] in SUITES[name].headlines:
            found.setdefault(figure["name"], figure)
    return [(re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_"), figure) for key, figure in found.items()]
