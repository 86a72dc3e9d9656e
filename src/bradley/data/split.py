"""Splits by prompt and seeded samples: both depend on the rows themselves, never on their place in a file."""

import math
from collections.abc import Sequence
from typing import Any

from ..errors import UserError
from ..records import Comparison
from ..seeds import generator, seed_for
from .clean import topic

HASH_RANGE = 2**63


def split_by_prompt(
    comparisons: Sequence[Comparison], shares: dict[str, float], seed: int
) -> dict[str, list[Comparison]]:
    """Deal comparisons to named parts by a hash of (seed, prompt), in their order.

    A prompt lies wholly in one part, and which one does not depend on any other row. The parts take consecutive pieces
    of the hash range in the order of `shares`, so that with the shares of {"valid", "train", "test"} a larger test
    part takes its prompts from train alone.

    Args:
        comparisons: to be dealt.
        shares: name of a part -> share of the prompts, together 1.
        seed: of the run.

    Raises:
        UserError: the shares do not add up to 1, or one is negative.
    """
    if not math.isclose(sum(shares.values()), 1.0) or min(shares.values()) < 0:
        raise UserError(f"shares must be positive and add up to 1, got {shares}", "lower valid_share or test_share")
    *names, last = shares
    bounds = [(name, sum(list(shares.values())[: place + 1])) for place, name in enumerate(names)]
    parts: dict[str, list[Comparison]] = {name: [] for name in shares}
    for comparison in comparisons:
        point = seed_for(seed, "split", topic(comparison)) / HASH_RANGE
        parts[next((name for name, bound in bounds if point < bound), last)].append(comparison)
    return parts


def sample(
    comparisons: Sequence[Comparison], limit: int, seed: int, name: str
) -> tuple[list[Comparison], dict[str, Any]]:
    """A seeded sample of `limit` comparisons (0: all), each source in proportion, in their order.

    Places are given by largest remainder. Which comparisons of a source fill its places depends on `seed`, `name`, the
    source and its size alone; more places add to those that fewer places had.

    Returns:
        The sample, and its composition: {"limit", "of", "kept", "sources": {source: {"of", "kept"}}}.
    """
    members: dict[str, list[int]] = {}
    for index, comparison in enumerate(comparisons):
        members.setdefault(comparison.source, []).append(index)
    total = len(comparisons)
    places = _places({source: len(rows) for source, rows in members.items()}, min(limit or total, total))
    chosen: set[int] = set()
    for source, rows in members.items():
        order = generator(seed, "sample", name, source).permutation(len(rows))
        chosen.update(rows[i] for i in order[: places[source]])
    sources = {source: {"of": len(rows), "kept": places[source]} for source, rows in members.items()}
    kept = [comparison for index, comparison in enumerate(comparisons) if index in chosen]
    return kept, {"limit": limit, "of": total, "kept": len(kept), "sources": sources}


def _places(sizes: dict[str, int], limit: int) -> dict[str, int]:
    """`limit` places over sources in proportion to their sizes, by largest remainder."""
    total = sum(sizes.values())
    places = {source: size * limit // total for source, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda source: -(sizes[source] * limit % total))
    for source in by_remainder[: limit - sum(places.values())]:
        places[source] += 1
    return places
