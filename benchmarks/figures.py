"""What a comparison of two trainers in turns comes to: rates, the ratio, the promise of the token counts, and how much
of it was kept. Pure functions on counts."""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple


class Turn(NamedTuple):
    """What one arm did in one turn, or in several.

    Attributes:
        tokens: that went through the model, padding included.
        units: optimizer steps, or micro-batches.
        peak_gib: largest memory so far.
    """

    seconds: float
    judgments: int
    tokens: int
    units: int
    peak_gib: float

    @property
    def judgments_per_second(self) -> float:
        """Rate of judgments."""
        return self.judgments / self.seconds

    @property
    def tokens_per_second(self) -> float:
        """Rate of tokens, padding included."""
        return self.tokens / self.seconds

    @property
    def tokens_per_judgment(self) -> float:
        """What one judgment costs in tokens."""
        return self.tokens / self.judgments


class Comparison(NamedTuple):
    """One trainer against a peer.

    Attributes:
        ratio: judgments per second over the peer's.
        promised: tokens per judgment of the peer over ours: the ratio at equal seconds per token.
        efficiency: ratio / promised.
        ratios, efficiencies: median, smallest and largest over the rounds.
    """

    ratio: float
    promised: float
    efficiency: float
    ratios: tuple[float, float, float]
    efficiencies: tuple[float, float, float]


def total(turns: Sequence[Turn]) -> Turn:
    """Several turns as one."""
    return Turn(
        sum(turn.seconds for turn in turns),
        sum(turn.judgments for turn in turns),
        sum(turn.tokens for turn in turns),
        sum(turn.units for turn in turns),
        max(turn.peak_gib for turn in turns),
    )


def compare(ours: Sequence[Turn], peers: Sequence[Turn]) -> Comparison:
    """Figures over all turns, and their range over the rounds, in which turn i of either side follows the other."""
    ratio, promised = _ratio(total(ours), total(peers))
    rounds = [_ratio(mine, theirs) for mine, theirs in zip(ours, peers, strict=True)]
    return Comparison(
        ratio,
        promised,
        ratio / promised,
        _spread([measured for measured, _ in rounds]),
        _spread([measured / wanted for measured, wanted in rounds]),
    )


def _ratio(ours: Turn, peer: Turn) -> tuple[float, float]:
    """Measured and promised."""
    return (
        ours.judgments_per_second / peer.judgments_per_second,
        peer.tokens_per_judgment / ours.tokens_per_judgment,
    )


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


def flops(turn: Turn, parameters: int) -> float:
    """FLOP/s of forward and backward, 6 x parameters x tokens / seconds: attention and embeddings are not counted."""
    return 6 * parameters * turn.tokens_per_second


def largest_difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The largest distance between two loss curves of the same steps."""
    return max(abs(mine - other) for mine, other in zip(ours, theirs, strict=True))


def table(found: dict[str, Any]) -> str:
    """The result for people."""
    trial = found["trial"]
    lost = ", ".join(f"{row['dropped']} {cause}" for cause, row in found["dropped"].items() if row["dropped"])
    lines = [
        f"{trial['data']}: {found['comparisons']} comparisons of up to {trial['max_tokens']} tokens"
        + (f" (left out: {lost})" if lost else ""),
        f"{trial['parameters'] / 1e6:.1f}M parameters without embeddings, {trial['device']}, {trial['precision']}; "
        f"about {trial['step_judgments']} judgments to a step; {found['turns']} turns of each arm",
        f"{'arm':<12} {'judgments/s':>12} {'tokens/s':>10} {'GFLOP/s':>9} {'peak GiB':>9}  micro-batch",
    ]
    for name, arm in found["arms"].items():
        label = name if name == "bradley" else f"trl {name}"
        size = f"{arm['micro_batch']} of {_tried(arm['calibration'])}" if "micro_batch" in arm else "by tokens"
        lines.append(
            f"{label:<12} {arm['judgments_per_second']:>12.2f} {arm['tokens_per_second']:>10.0f} "
            f"{arm['flops'] / 1e9:>9.0f} {arm['peak_gib']:>9.2f}  {size}"
        )
    for kind, against in found["rounds"].items():
        median, low, high = against["ratios"]
        lines.append(
            f"against {kind}: {against['ratio']:.2f}x, promised {against['promised']:.2f}x (over the whole data "
            f"{found[f'promised_epoch_{kind}']:.2f}x), efficiency {against['efficiency']:.2f}; "
            f"rounds {median:.2f}x ({low:.2f} to {high:.2f}), efficiency "
            "{:.2f} ({:.2f} to {:.2f})".format(*against["efficiencies"])
        )
    loss = found["loss"]
    curve = loss["reason"] if loss["difference"] is None else f"{loss['difference']:.1e} over {len(loss['ours'])} steps"
    lines += [
        f"efficiency {found['efficiency']:.2f}; matmul share {found['matmul_share']:.2f} of "
        f"{found['matmul_flops'] / 1e9:.0f} GFLOP/s",
        f"largest difference of losses: {curve}",
    ]
    return "\n".join(lines)


def _tried(rates: dict[int, float | None]) -> str:
    """`4: 2.61/s, 8: 2.70/s, 16: no room`."""
    return ", ".join(f"{size}: {f'{rate:.2f}/s' if rate else 'no room'}" for size, rate in rates.items()) or "one given"
