"""Splits by prompt and seeded samples, dependent on the rows alone and not on places in a file."""

import math
from typing import Any

import numpy as np

from ..common.seeds import generator, seed_for
from ..errors import DataError, UserError
from .columns import mixed
from .table import Selection

HASH_RANGE = 2**63


def split_by_prompt(rows: Selection, shares: dict[str, float], seed: int) -> dict[str, Selection]:
    """Deal comparisons to named parts by a hash of (seed, prompt); each part keeps the order.

    A prompt lies wholly in one part, independent of all other rows. The parts take consecutive pieces of the hash range
    in the order of `shares`. With the shares of {"valid", "train", "test"}, a larger test part takes prompts from train
    alone.

    Args:
        rows: comparisons to deal.
        shares: name of a part -> share of the prompts; the sum is 1.
        seed: seed of the run.

    Raises:
        UserError: the shares do not add up to 1, or a share is negative.
    """
    if not math.isclose(sum(shares.values()), 1.0) or min(shares.values()) < 0:
        raise UserError(f"shares must be positive and add up to 1, got {shares}", "lower valid_share or test_share")
    topics, place_of = np.unique(rows.pool.columns.topic[rows.heads], return_inverse=True)
    # A hash for each prompt instead of a random draw: a row more or less in a file moves no other prompt.
    points = np.array([seed_for(seed, "split", f"{topic:016x}") / HASH_RANGE for topic in topics.tolist()])
    bounds = np.cumsum(list(shares.values()))[:-1]
    part = np.searchsorted(bounds, points, side="right")[place_of]
    return {name: rows.take(np.flatnonzero(part == number)) for number, name in enumerate(shares)}


def sample(rows: Selection, limit: int, seed: int, name: str) -> tuple[Selection, dict[str, Any]]:
    """Sample `limit` comparisons (0: all), each source in proportion; the order stays.

    Places are distributed by largest remainder. The comparisons drawn from a source depend only on `seed`, `name`, the
    source and the source's size. A larger sample contains every smaller sample of the same source.

    Returns:
        The sample, and the composition: {"limit", "of", "kept", "sources": {source: {"of", "kept"}}}.
    """
    columns, total = rows.pool.columns, len(rows)
    of_row = columns.source[rows.heads]
    numbers = list(dict.fromkeys(of_row.tolist()))
    members = {columns.sources[number]: np.flatnonzero(of_row == number) for number in numbers}
    places = _places({source: len(own) for source, own in members.items()}, min(limit or total, total))
    # The first places of a permutation: with more places, a source keeps what it had and adds to it.
    drawn = [
        own[generator(seed, "sample", name, source).permutation(len(own))[: places[source]]]
        for source, own in members.items()
    ]
    sources = {source: {"of": len(own), "kept": places[source]} for source, own in members.items()}
    kept = np.sort(np.concatenate(drawn)) if drawn else np.zeros(0, dtype=np.int64)
    return rows.take(kept), {"limit": limit, "of": total, "kept": len(kept), "sources": sources}


def mix(rows: Selection, parts: list[str], amounts: dict[str, float], seed: int) -> tuple[Selection, dict[str, Any]]:
    """Sample each part named by `amounts`: up to 1 a share of the part, above 1 a number of comparisons.

    The draw depends on the place of the part in the list and on the part's size, not on the name; files may therefore
    move.

    Args:
        rows: comparisons of all parts.
        parts: names, by the numbers in `Columns.part`.
        amounts: share or number, by name; other parts are kept whole.
        seed: seed of the run.

    Returns:
        The comparisons in the same order, and {part: {"of", "kept"}}.

    Raises:
        DataError: a part has fewer comparisons than asked for.
    """
    of_row = rows.pool.columns.part[rows.heads]
    drawn, kept = [], {}
    for number, part in enumerate(parts):
        own = np.flatnonzero(of_row == number)
        amount = amounts.get(part, 1.0)
        wanted = round(amount * len(own)) if amount <= 1 else round(amount)
        if wanted > len(own):
            raise DataError(
                f"data.mix asks for {wanted} comparisons of {part}, which has {len(own)}",
                f"ask for at most {len(own)}, or leave it out to take all of them",
            )
        drawn.append(own[generator(seed, "mix", number).permutation(len(own))[:wanted]])
        kept[part] = {"of": len(own), "kept": wanted}
    return rows.take(np.sort(np.concatenate(drawn))), kept


def cap_per_prompt(rows: Selection, most: int, seed: int) -> Selection:
    """Keep at most `most` comparisons of a prompt: a seeded choice by the comparisons' texts alone."""
    columns = rows.pool.columns
    topics = columns.topic[rows.heads]
    # A sum of hashes: the same comparison with its responses in another order draws the same number.
    texts = np.add.reduceat(mixed(columns.response), columns.first_response[:-1])[rows.heads]
    draw = mixed(np.full(len(rows), seed_for(seed, "cap per prompt"), dtype=np.uint64), texts)
    order = np.lexsort((np.arange(len(rows)), draw, topics))
    # After sorting by prompt and draw, the place within the run of a prompt is the rank of the comparison.
    starts = np.ones(len(order), dtype=bool)
    starts[1:] = topics[order][1:] != topics[order][:-1]
    first = np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))
    return rows.take(np.sort(order[np.arange(len(order)) - first < most]))


def _places(sizes: dict[str, int], limit: int) -> dict[str, int]:
    """Distribute `limit` places over sources in proportion to size, by largest remainder."""
    total = sum(sizes.values())
    # Integers throughout: a rounded quotient could lose or add a place.
    places = {source: size * limit // total for source, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda source: -(sizes[source] * limit % total))
    for source in by_remainder[: limit - sum(places.values())]:
        places[source] += 1
    return places
