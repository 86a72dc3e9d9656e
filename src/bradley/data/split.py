"""Splits by prompt and seeded samples: both depend on the rows themselves, never on their place in a file."""

import math
from typing import Any

import numpy as np

from ..common.seeds import generator, seed_for
from ..errors import DataError, UserError
from .columns import mixed
from .table import Selection

HASH_RANGE = 2**63


def split_by_prompt(rows: Selection, shares: dict[str, float], seed: int) -> dict[str, Selection]:
    """Deal comparisons to named parts by a hash of (seed, prompt), in their order.

    A prompt lies wholly in one part, and which one does not depend on any other row. The parts take consecutive pieces
    of the hash range in the order of `shares`, so that with the shares of {"valid", "train", "test"} a larger test
    part takes its prompts from train alone.

    Args:
        rows: to be dealt.
        shares: name of a part -> share of the prompts, together 1.
        seed: of the run.

    Raises:
        UserError: the shares do not add up to 1, or one is negative.
    """
    if not math.isclose(sum(shares.values()), 1.0) or min(shares.values()) < 0:
        raise UserError(f"shares must be positive and add up to 1, got {shares}", "lower valid_share or test_share")
    topics, place_of = np.unique(rows.pool.columns.topic[rows.heads], return_inverse=True)
    points = np.array([seed_for(seed, "split", f"{topic:016x}") / HASH_RANGE for topic in topics.tolist()])
    bounds = np.cumsum(list(shares.values()))[:-1]
    part = np.searchsorted(bounds, points, side="right")[place_of]
    return {name: rows.take(np.flatnonzero(part == number)) for number, name in enumerate(shares)}


def sample(rows: Selection, limit: int, seed: int, name: str) -> tuple[Selection, dict[str, Any]]:
    """A seeded sample of `limit` comparisons (0: all), each source in proportion, in their order.

    Places are given by largest remainder. Which comparisons of a source fill its places depends on `seed`, `name`, the
    source and its size alone; more places add to those that fewer places had.

    Returns:
        The sample, and its composition: {"limit", "of", "kept", "sources": {source: {"of", "kept"}}}.
    """
    columns, total = rows.pool.columns, len(rows)
    of_row = columns.source[rows.heads]
    numbers = list(dict.fromkeys(of_row.tolist()))
    members = {columns.sources[number]: np.flatnonzero(of_row == number) for number in numbers}
    places = _places({source: len(own) for source, own in members.items()}, min(limit or total, total))
    chosen = [
        own[generator(seed, "sample", name, source).permutation(len(own))[: places[source]]]
        for source, own in members.items()
    ]
    sources = {source: {"of": len(own), "kept": places[source]} for source, own in members.items()}
    kept = np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, dtype=np.int64)
    return rows.take(kept), {"limit": limit, "of": total, "kept": len(kept), "sources": sources}


def mix(rows: Selection, parts: list[str], amounts: dict[str, float], seed: int) -> tuple[Selection, dict[str, Any]]:
    """A seeded sample of each part that `amounts` names: a share of it up to 1, a number of comparisons above 1.

    Which comparisons are drawn depends on the place of the part among its like and on its size, not on its name, so
    that files may move.

    Args:
        parts: names, by the numbers in `Columns.part`.

    Returns:
        The comparisons in their order, and {part: {"of", "kept"}}.

    Raises:
        DataError: more comparisons are asked for than a part has.
    """
    of_row = rows.pool.columns.part[rows.heads]
    chosen, account = [], {}
    for number, part in enumerate(parts):
        own = np.flatnonzero(of_row == number)
        amount = amounts.get(part, 1.0)
        wanted = round(amount * len(own)) if amount <= 1 else round(amount)
        if wanted > len(own):
            raise DataError(
                f"data.mix asks for {wanted} comparisons of {part}, which has {len(own)}",
                f"ask for at most {len(own)}, or leave it out to take all of them",
            )
        chosen.append(own[generator(seed, "mix", number).permutation(len(own))[:wanted]])
        account[part] = {"of": len(own), "kept": wanted}
    return rows.take(np.sort(np.concatenate(chosen))), account


def cap_per_prompt(rows: Selection, most: int, seed: int) -> Selection:
    """At most `most` comparisons of one prompt, a seeded choice that depends on the comparisons themselves alone."""
    columns = rows.pool.columns
    topics = columns.topic[rows.heads]
    texts = np.add.reduceat(mixed(columns.response), columns.first_response[:-1])[rows.heads]
    draw = mixed(np.full(len(rows), seed_for(seed, "cap per prompt"), dtype=np.uint64), texts)
    order = np.lexsort((np.arange(len(rows)), draw, topics))
    starts = np.ones(len(order), dtype=bool)
    starts[1:] = topics[order][1:] != topics[order][:-1]
    first = np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))
    return rows.take(np.sort(order[np.arange(len(order)) - first < most]))


def _places(sizes: dict[str, int], limit: int) -> dict[str, int]:
    """`limit` places over sources in proportion to their sizes, by largest remainder."""
    total = sum(sizes.values())
    places = {source: size * limit // total for source, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda source: -(sizes[source] * limit % total))
    for source in by_remainder[: limit - sum(places.values())]:
        places[source] += 1
    return places
