"""Segments of a comparison: each prefix shared by responses with equal cuts, then the own tokens of these responses.

A cut is a rule of each conversation. Responses with equally cut prompts share the tokens of the prompt; any other
response has another prompt, and costs no sharing to the rest.
"""

from collections.abc import Sequence
from typing import NamedTuple

from .encoder import Ids, common_prefix


class Segments(NamedTuple):
    """Segments of a comparison, in the order of a packed row.

    Attributes:
        tokens: ids of each segment; a prefix may be empty, own tokens never are.
        own: K numbers of the segments with own tokens. The first response of a prefix follows the prefix.
        prefix: K numbers of the segments with the prefixes; each prefix precedes its responses.
    """

    tokens: list[Ids]
    own: list[int]
    prefix: list[int]


def segments_of(ids: Sequence[Ids], removed: Sequence[int]) -> Segments:
    """Divide the renderings of a comparison into segments.

    Args:
        ids: K full renderings after the cuts, none empty.
        removed: K numbers of tokens cut.
    """
    together: dict[int, list[int]] = {}
    for response, count in enumerate(removed):
        together.setdefault(count, []).append(response)
    tokens: list[Ids] = []
    own, prefix = [0] * len(ids), [0] * len(ids)
    for responses in together.values():
        shared = _shared([ids[response] for response in responses])
        start = len(tokens)
        tokens.append(ids[responses[0]][:shared])
        for response in responses:
            own[response], prefix[response] = len(tokens), start
            tokens.append(ids[response][shared:])
    return Segments(tokens, own, prefix)


def _shared(rows: Sequence[Ids]) -> int:
    """Count the leading tokens shared by renderings; a single rendering shares nothing."""
    shared = min((common_prefix(rows[0], row) for row in rows[1:]), default=0)
    # Every response keeps a token of its own: the score is read at a response's last token, which must not lie in the
    # prefix.
    return min(shared, min(map(len, rows)) - 1)
