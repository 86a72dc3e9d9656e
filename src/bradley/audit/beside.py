"""Two audited sets side by side: each share of the first beside the share of the second, with the difference.

The interval of a difference joins the intervals of both shares (Newcombe 1998, method 10), as if the sets were
independent: prompts that both sets hold make the interval too wide or too narrow.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..evaluate.intervals import interval_figures


def beside(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Differences of all shares of two audits, ready for JSON.

    Args:
        first, second: `Audited.figures`.

    Returns:
        `first` and `second`, names of the sets; `figures`: part, name, `first`, `second` and `difference`, which is the
        second minus the first, for each share that both audits hold.
    """
    sides = [dict(_shares(each)) for each in (first, second)]
    figures = []
    for key in dict.fromkeys(key for side in sides for key in side):
        # A script that no prompt of a set has is no undefined figure.
        one, other = (
            side.get(key) or (_none_of(each["prompts"]) if key[0] == "languages" else None)
            for side, each in zip(sides, (first, second), strict=True)
        )
        if one and other and (one["value"], other["value"]) != (None, None):
            part, name = key
            figures.append({"part": part, "name": name, "first": one, "second": other, "difference": gap(one, other)})
    return {"first": first["name"], "second": second["name"], "figures": figures}


def _none_of(prompts: int) -> dict[str, Any]:
    """Share of something that none of `prompts` has."""
    return interval_figures(np.zeros(prompts), np.arange(prompts))


def gap(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Second share minus first share, with an interval; None where either share is undefined.

    Example:
        gap({"value": 0.5, "low": 0.4, "high": 0.6}, {"value": 0.7, "low": 0.6, "high": 0.8})["value"]  # 0.2
    """
    if first["value"] is None or second["value"] is None:
        return {"value": None, "low": None, "high": None, "reason": "a share is undefined"}
    value = second["value"] - first["value"]
    low = value - math.hypot(second["value"] - second["low"], first["high"] - first["value"])
    high = value + math.hypot(second["high"] - second["value"], first["value"] - first["low"])
    return {"value": value, "low": max(-1.0, low), "high": min(1.0, high), "reason": None}


def _shares(found: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], Mapping[str, Any]]]:
    """Yield ((part, name), share) for every share of an audit."""
    # What other sets a set was compared with differs between the two audits.
    for name, finding in found["findings"].items():
        if name != "shared":
            yield ("findings", name), finding["share"]
    for name in ("tie_share", "first_preferred"):
        yield ("labels", name), found["labels"][name]
    for name in ("agreement", "ceiling"):
        yield ("agreement", name), found["agreement"][name]
    for name, rule in found["shortcuts"].items():
        yield ("shortcuts", name), rule["alone"]
    for name in ("chosen", "rejected"):
        yield ("refusals", name), found["refusals"][name]
        yield ("languages", name), found["languages"][name]
    for name, share in found["languages"]["prompts"].items():
        yield ("languages", name), share
    yield ("wrong_labels", "accuracy"), found["wrong_labels"]["accuracy"]
