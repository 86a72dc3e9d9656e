"""The objective: its terms and weights, options that cannot act on the data, and where margins are best."""

import dataclasses
import json
import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

import bradley
from bradley.common.console import Console
from bradley.config import Loss
from bradley.errors import UserError
from bradley.losses import LOSSES, Term
from bradley.records import Judgment
from bradley.training.announce import announce
from bradley.training.build import prepare
from bradley.training.objective import best_margin, bounds, check_objective, describe_objective, objective
from tests.helpers import LLAMA, comparisons, store_for
from tests.losses.judged import draw, totals
from tests.training.jobs import config, one_step_gradient

OWN = """
import torch
from bradley.losses import Term

def hinge(scores, targets):
    gap = scores[targets.better] - scores[targets.worse]
    return Term((targets.weight * (1 - gap).clamp(min=0)).sum(), "judgment_weight", {})

def number(scores, targets):
    return scores.sum()

def unit(scores, targets):
    return Term(scores.sum(), "pairs", {})

def plain(scores, targets):
    return Term(1.0, "response", {})

def vector(scores, targets):
    return Term(scores, "response", {})

def detached(scores, targets):
    return Term(scores.detach().sum(), "response", {})

def logged(scores, targets):
    return Term(scores.sum(), "response", {"largest": 3.0})

def nothing(scores, targets):
    return Term(scores.sum(), "response", None)

def numbered(scores, targets):
    return Term(scores.sum(), "response", {3: scores.detach().sum()})

def slashed(scores, targets):
    return Term(scores.sum(), "response", {"term/raw": scores.detach().sum()})
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of losses in the working directory, under a name that no other test has imported."""
    name = f"losses_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return name


STORE = store_for([*comparisons(12), *comparisons(4, responses=4, seed=5)])
JUDGED, RESPONSES = len(STORE.better), len(STORE.rank)


def altered(**arrays):
    """A store of 12 pairs and 4 comparisons of four with other arrays put in its place."""
    return dataclasses.replace(STORE, **arrays)


def objective_of(scores, made, **loss):
    step = totals(scores, made)
    terms = [term(scores, made) for term in objective(Loss(**loss)).values()]
    return float(sum(term.sum / step[term.unit] for term in terms))


def test_the_terms_come_in_a_fixed_order_with_the_likelihood_first(own):
    assert list(objective(Loss())) == ["bradley_terry"]
    extra = {f"{own}:hinge": 0.5}
    settings = Loss(extra=extra, centering=1, score_penalty=1, margin_penalty=1, ties="davidson")
    assert list(objective(settings)) == ["davidson", "margin_penalty", "score_penalty", "centering", f"{own}:hinge"]
    assert list(objective(Loss(objective="plackett_luce"))) == ["plackett_luce"]
    assert list(objective(Loss(ties="rao_kupper"))) == ["rao_kupper"]


@pytest.mark.parametrize(
    ("settings", "name", "options"),
    [
        ({"beta": 0.5}, "bradley_terry", {"beta": 0.5}),
        ({"label_smoothing": 0.2}, "bradley_terry", {"label_smoothing": 0.2}),
        ({"margin_scale": 0.7, "beta": 2.0}, "bradley_terry", {"margin_scale": 0.7, "beta": 2.0}),
        ({"objective": "plackett_luce", "beta": 2.0}, "plackett_luce", {"beta": 2.0}),
        ({"ties": "rao_kupper", "tie_strength": 0.3}, "rao_kupper", {"tie_strength": 0.3}),
        (
            {"ties": "davidson", "tie_strength": 0.3, "label_smoothing": 0.1, "beta": 2.0},
            "davidson",
            {"tie_strength": 0.3, "label_smoothing": 0.1, "beta": 2.0},
        ),
    ],
)
def test_every_setting_of_the_likelihood_reaches_it(settings, name, options):
    scores, made = draw(5)
    (only,) = objective(Loss(**settings)).values()
    assert float(only(scores, made).sum) == float(LOSSES[name](scores, made, **options).sum)
    assert float(only(scores, made).sum) != float(LOSSES["bradley_terry"](scores, made).sum)


def test_the_objective_is_the_sum_of_its_parts_each_with_its_weight():
    scores, made = draw(7)
    weights = {"margin_penalty": 0.3, "score_penalty": 0.02, "centering": 0.5}
    step = totals(scores, made)
    whole = objective_of(scores, made, **weights, margin_penalty_kind="l1")
    expected = objective_of(scores, made)
    for name, weight in weights.items():
        term = LOSSES[name](scores, made, **({"kind": "l1"} if name == "margin_penalty" else {}))
        expected += weight * float(term.sum) / step[term.unit]
    assert whole == pytest.approx(expected)


def test_a_term_of_the_users_own_counts_by_its_weight(own):
    scores, made = draw(7)
    scores.requires_grad_()
    term = objective(Loss(extra={f"{own}:hinge": 0.25}))[f"{own}:hinge"](scores, made)
    gap = (scores[made.better] - scores[made.worse]).detach().numpy()
    assert isinstance(term, Term) and term.unit == "judgment_weight"
    expected = 0.25 * (made.weight.numpy() * np.maximum(1 - gap, 0)).sum()
    assert float(term.sum.detach()) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("number", "a Tensor, wanted a bradley.losses.Term"),
        ("unit", "the unit 'pairs', wanted one of judgment_weight, response, comparison"),
        ("plain", "a sum of type float, wanted a scalar tensor"),
        ("vector", r"a sum of shape \(\d+,\), wanted a scalar tensor"),
        ("detached", "a sum without a gradient"),
        ("logged", "metrics that are not all scalar tensors"),
        ("nothing", "metrics that are no dict of names"),
        ("numbered", "metrics that are no dict of names"),
        ("slashed", "metrics that are no dict of names without a slash"),
    ],
)
def test_a_users_term_that_cannot_be_added_up_is_named_on_its_first_call(own, name, problem):
    scores, made = draw(7)
    term = objective(Loss(extra={f"{own}:{name}": 1.0}))[f"{own}:{name}"]
    with pytest.raises(UserError, match=f"loss.extra: {own}:{name} returned {problem}") as caught:
        term(scores.requires_grad_(), made)
    assert "Term(" in caught.value.hint


def test_a_users_term_may_not_change_the_scores(monkeypatch, tmp_path):
    (tmp_path / "changing.py").write_text(
        "from bradley.losses import Term\n\ndef zero(scores, targets):\n    scores.mul_(0)\n"
        "    return Term(scores.sum(), 'response', {})\n"
    )
    monkeypatch.chdir(tmp_path)
    scores, made = draw(7)
    with pytest.raises(UserError, match="changing:zero changed the scores in place"):
        objective(Loss(extra={"changing:zero": 1.0}))["changing:zero"](scores.requires_grad_() * 1.0, made)


def test_a_users_term_that_is_not_there_is_an_error_before_the_run(own):
    for path, message in [(f"{own}:hinges", "has no function hinges"), ("no_such:thing", "cannot be imported")]:
        with pytest.raises(UserError, match=message):
            check_objective(Loss(extra={path: 1.0}), STORE)


def test_an_option_that_cannot_act_on_the_data_is_an_error():
    tied = np.where(np.arange(JUDGED) < 3, 0.5, 1.0).astype(np.float32)
    margin = np.where(np.arange(JUDGED) < 3, 2.0, np.nan).astype(np.float32)
    rank = np.where(np.arange(RESPONSES) < 2, np.arange(RESPONSES), np.nan).astype(np.float32)
    for options, idle, acting, message in [
        (
            {"margin_scale": 0.5},
            {},
            {"margin": margin},
            "loss.margin_scale = 0.5, but no training judgment has a margin",
        ),
        ({"margin_scale": 0.5}, {"margin": 0 * margin}, {"margin": margin}, "no training judgment has a margin"),
        ({"margin_scale": 1}, {"margin": margin, "probability": tied}, {"margin": margin}, "has a margin other than 0"),
        (
            {"objective": "plackett_luce"},
            {"rank": rank * np.nan},
            {"rank": rank},
            "no training comparison has a ranking",
        ),
        ({"ties": "davidson"}, {}, {"probability": tied}, "loss.ties = davidson, but no training judgment is a tie"),
        ({"ties": "rao_kupper"}, {}, {"probability": tied}, "loss.ties = rao_kupper, but no training judgment"),
    ]:
        with pytest.raises(UserError, match=message) as caught:
            check_objective(Loss(**options), altered(**idle))
        assert caught.value.hint
        check_objective(Loss(**options), altered(**acting))


def test_penalties_smoothing_and_the_plain_objective_act_on_any_data():
    check_objective(Loss(), STORE)
    check_objective(Loss(label_smoothing=0.1, margin_penalty=1, score_penalty=1, centering=1), STORE)


def test_the_announcement_names_terms_weights_and_what_is_not_read(own):
    margin = np.where(np.arange(JUDGED) < 20, 2.0, np.nan).astype(np.float32)
    tied = np.where(np.arange(JUDGED) < 3, 0.5, 1.0).astype(np.float32)
    settings = Loss(beta=2, margin_scale=0.5, margin_penalty=0.01, centering=0.1, extra={f"{own}:hinge": 0.25})
    formula, unread, bound = describe_objective(settings, altered(margin=margin, probability=tied))
    assert formula == (
        f"bradley_terry beta 2 margin_scale 0.5 + 0.01 margin_penalty l2 + 0.1 centering + 0.25 {own}:hinge"
    )
    assert unread == "7 of 24 training judgments are ties or have no margin, and count as margin 0"
    assert bound.startswith("loss.margin_penalty = 0.01 bounds margins")
    assert describe_objective(Loss(), STORE) == ["bradley_terry beta 1"]
    assert describe_objective(Loss(ties="davidson"), STORE) == ["davidson beta 1 tie_strength 1"]


def test_the_announcement_counts_what_rankings_leave_out():
    sizes = np.diff(STORE.first_response)
    owner = np.repeat(np.arange(len(STORE)), sizes)
    rank = np.where(owner >= 10, np.arange(RESPONSES), np.nan).astype(np.float32)
    soft = np.ones(JUDGED, dtype=np.float32)
    soft[[0, -1, -2]] = 0.5, 0.5, 0.8  # the first is in a comparison without a ranking
    lines = describe_objective(Loss(objective="plackett_luce"), altered(rank=rank, probability=soft))
    assert lines == [
        "plackett_luce beta 1",
        "10 of 16 training comparisons have no ranking and count by their judgments",
        f"2 of {JUDGED} training judgments are ties or uncertain, where a ranking counts instead",
    ]


def softplus(x):
    return np.logaddexp(0.0, x)


def pair_objective(loss):
    """The objective of one pair whose better response wins for certain, scores d apart around 0, written out."""
    s, beta, weight = loss.label_smoothing, loss.beta, loss.tie_strength

    def cost(z):
        if loss.ties == "rao_kupper":
            return softplus(weight - z)
        if loss.ties == "davidson":
            return np.log(np.exp(z / 2) + np.exp(-z / 2) + weight) - z / 2
        return softplus(-z)

    def value(d):
        penalty = abs(d) if loss.margin_penalty_kind == "l1" else d * d
        likelihood = (1 - s) * cost(beta * d) + s * cost(-beta * d)
        return likelihood + loss.margin_penalty * penalty + loss.score_penalty * 2 * (d / 2) ** 2 / 2

    return value


@pytest.mark.parametrize(
    "options",
    [
        {"label_smoothing": 0.05},
        {"label_smoothing": 0.3, "beta": 0.5},
        {"margin_penalty": 0.01},
        {"margin_penalty": 0.2, "margin_penalty_kind": "l1", "beta": 2.0},
        {"margin_penalty": 0.6, "margin_penalty_kind": "l1"},
        {"score_penalty": 0.1},
        {"label_smoothing": 0.05, "ties": "rao_kupper", "tie_strength": 2.0},
        {"label_smoothing": 0.05, "ties": "davidson", "tie_strength": 2.0, "beta": 0.5},
        {"label_smoothing": 0.05, "score_penalty": 0.1, "margin_penalty": 0.05, "centering": 3.0},
    ],
)
def test_the_best_margin_is_where_the_objective_written_out_is_smallest(options):
    loss = Loss(**options)
    found = minimize_scalar(pair_objective(loss), bounds=(-1, 40), method="bounded", options={"xatol": 1e-9})
    assert best_margin(loss) == pytest.approx(found.x, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_the_best_margin_where_a_closed_form_exists(beta):
    for s in (0.01, 0.05, 0.4):
        assert best_margin(Loss(label_smoothing=s, beta=beta)) == pytest.approx(math.log((1 - s) / s) / beta)
        t = math.e**0.7
        root = ((1 - 2 * s) * t + math.sqrt(((1 - 2 * s) * t) ** 2 + 4 * s * (1 - s))) / (2 * s)
        kupper = Loss(label_smoothing=s, beta=beta, ties="rao_kupper", tie_strength=0.7)
        assert best_margin(kupper) == pytest.approx(math.log(root) / beta)
        half = ((1 - 2 * s) * 0.7 + math.sqrt(((1 - 2 * s) * 0.7) ** 2 + 16 * s * (1 - s))) / (4 * s)
        davidson = Loss(label_smoothing=s, beta=beta, ties="davidson", tie_strength=0.7)
        assert best_margin(davidson) == pytest.approx(2 * math.log(half) / beta)
    for weight in (0.01, 0.2):
        l1 = Loss(margin_penalty=weight, margin_penalty_kind="l1", beta=beta)
        assert best_margin(l1) == pytest.approx(math.log(beta / weight - 1) / beta)


def test_each_bound_is_stated_alone_and_unbounded_objectives_have_none(own):
    assert bounds(Loss(centering=1.0, beta=2.0)) == []
    lines = bounds(Loss(label_smoothing=0.05, score_penalty=0.1, extra={f"{own}:hinge": 9.0}))
    assert [line.partition(" bounds")[0] for line in lines] == [
        "loss.label_smoothing = 0.05",
        "loss.score_penalty = 0.1",
    ]
    assert lines[0].endswith(f"best at {math.log(19):.4g}")
    assert lines[1].endswith(f"best at {best_margin(Loss(score_penalty=0.1)):.4g}")


def step_of(folder, budget, **loss):
    """The first step's gradient, its line of the log, and the number of its micro-batches."""
    gradient, pieces = one_step_gradient(folder, budget, **loss)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return gradient, next(line for line in lines if line["kind"] == "train"), pieces


@pytest.mark.parametrize("weight_by", ["prompt", "pair"])
def test_a_step_of_several_terms_has_the_gradient_of_one_micro_batch(tmp_path, weight_by):
    terms = {"label_smoothing": 0.1, "margin_penalty": 0.3, "score_penalty": 2.0, "centering": 0.5}
    whole, line, one = step_of(tmp_path / "whole", 100_000, weight_by=weight_by, **terms)
    part, cut_line, pieces = step_of(tmp_path / "cut", 200, weight_by=weight_by, **terms)
    assert pieces > one == 1
    assert float((part - whole).norm() / whole.norm()) < 1e-5
    assert cut_line["train/rm/loss"] == pytest.approx(line["train/rm/loss"], rel=1e-5)
    plain, plain_line, _ = step_of(tmp_path / "plain", 100_000, weight_by=weight_by)
    assert line["train/rm/nll"] == pytest.approx(plain_line["train/rm/nll"], rel=1e-6)
    assert line["train/rm/loss"] > line["train/rm/nll"] + 1e-3
    assert float((plain - whole).norm() / plain.norm()) > 1e-2


def test_prepare_refuses_and_announces(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BRADLEY_CACHE", str(tmp_path / "cache"))
    rows = comparisons(12)
    given = {"train": rows, "valid": comparisons(6, seed=3)}
    settings = {"model": {"config": LLAMA, "tokenizer": "train"}, "render": {"max_tokens": 200}}
    with pytest.raises(UserError, match=r"loss.ties = davidson, but no training judgment is a tie"):
        bradley.train({**settings, "loss": {"ties": "davidson"}}, **given, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    tied = [dataclasses.replace(row, judgments=(Judgment(0, 1, 0.5),)) if i < 2 else row for i, row in enumerate(rows)]
    made = config(**settings, loss={"ties": "davidson", "score_penalty": 0.1})
    announce(prepare(made, {**given, "train": tied}, None), Console("json"))
    told = [json.loads(line)["text"] for line in capsys.readouterr().err.splitlines()]
    objective_lines = [text.partition("objective    ")[2] for text in told if text.startswith("objective")]
    assert objective_lines[0] == "davidson beta 1 tie_strength 1 + 0.1 score_penalty"
    assert objective_lines[1].startswith("loss.score_penalty = 0.1 bounds margins") and len(objective_lines) == 2
