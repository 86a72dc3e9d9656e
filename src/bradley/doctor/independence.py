"""Probes of scoring: equal scores the second time, and whatever stands beside a conversation in the batch."""

from collections.abc import Iterator, Sequence

from ..data.render import Renderer
from ..data.token_store import build_store
from ..model.folder.tolerance import Check, compare
from ..model.reward import ScoreModel, compute_name
from ..records import Comparison
from ..scoring.core import score_store
from .results import Advice, ProbeResult, found

Scores = list[tuple[float, ...]]
AGAIN = Advice(
    "scored twice",
    "dropout is on in evaluation, or a layer of the model draws random numbers",
    "leave model.dropout off, and call model.eval() in code of your own",
)
BESIDE = Advice(
    "scores without company",
    "padding or another conversation of the batch reaches the score: a wrong mask, positions or pooled token",
    "use --model.engine plain; for code of your own, check attention mask and position ids",
)


def scores_of(model: ScoreModel, renderer: Renderer, rows: Sequence[Comparison]) -> Scores:
    """Score rows by the path of evaluation: a tuple of scores for each row."""
    return [row.scores for row in score_store(model, build_store(rows, renderer, training=False), 0)]


def scored_twice(model: ScoreModel, renderer: Renderer, rows: Sequence[Comparison]) -> ProbeResult:
    """Score rows twice, and compare the bits; on a GPU within rounding."""
    first, second = (scores_of(model, renderer, rows) for _ in range(2))
    check = _check(model, "again", second, first)
    passed = first == second or (model.device.type != "cpu" and check.passed)
    measured = "equal bits" if first == second else f"scores differ by up to {check.largest:.2g}"
    return found(AGAIN, passed, measured, "equal scores", "nothing is random in evaluation", n=len(rows))


def without_company(model: ScoreModel, renderer: Renderer, rows: Sequence[Comparison]) -> ProbeResult:
    """Score rows together, alone, in another order, with sides swapped, and without shared prefixes."""
    checks = list(_checks(model, renderer, rows))
    worst = max(checks, key=lambda check: check.largest / check.allowed)
    return found(
        BESIDE,
        all(check.passed for check in checks),
        f"largest difference {worst.largest:.1e} ({worst.name})",
        f"at most {worst.allowed:.1e}, rounding",
        "a score depends on the conversation alone",
        n=len(rows),
    )


def _checks(model: ScoreModel, renderer: Renderer, rows: Sequence[Comparison]) -> Iterator[Check]:
    wanted = scores_of(model, renderer, rows)
    yield _check(model, "alone", [scores_of(model, renderer, [row])[0] for row in rows], wanted)
    yield _check(model, "in reverse order", scores_of(model, renderer, rows[::-1])[::-1], wanted)
    swapped = scores_of(model, renderer, [row.swap() for row in rows])
    yield _check(model, "sides swapped", [scores[::-1] for scores in swapped], wanted)
    if (engine := model.engine) != "plain":
        model.use("plain")
        try:
            yield _check(model, "padded, without shared prefixes", scores_of(model, renderer, rows), wanted)
        finally:
            model.use(engine)


def _check(model: ScoreModel, name: str, scores: Scores, wanted: Scores) -> Check:
    layers = int(model.network.config.get_text_config().num_hidden_layers)
    these, those = ([score for row in part for score in row] for part in (scores, wanted))
    return compare(name, these, those, compute_name(model), layers)
