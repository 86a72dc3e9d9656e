"""Aggregations against tables of known outcome, and against the published formulas written anew."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.errors import DataError
from bradley.evaluate.benchmarks import SUITES, benchmark_figures, headlines, rewardbench, rewardbench2, suite_of
from bradley.evaluate.benchmarks.table import overlap, show
from tests.evaluate.benchmarks.scored_rows import (
    best_of,
    drawn_rewardbench,
    drawn_ties,
    figure,
    pair,
    pairs,
    styles,
    value,
)
from tests.evaluate.tables import scored, swap, tables


def whole_rewardbench(shares, prior=None):
    """Rows of the published sizes, with the share of right rows by subset (default: all right)."""
    rows = []
    for name, count in rewardbench.COUNTS.items():
        right = round(shares.get(name, 1.0) * count)
        rows += pairs([1] * right + [0] * (count - right), len(rows), subset=name)
    for name, values in (prior or {}).items():
        rows += pairs(values, len(rows), subset=name)
    return rows


def test_rewardbench_counts_math_as_984_rows():
    rows = whole_rewardbench({"math-prm": 0.0})
    found = rewardbench.aggregate(rows)
    code = 6 * 164
    assert len(rows) == 2985
    assert value(found, "Reasoning") == pytest.approx(code / (984 + code))
    assert value(found, "Reasoning", "ties half, every row once") == pytest.approx(code / (447 + code))
    assert value(found, "RewardBench") == pytest.approx((3 + 0.5) / 4)
    assert value(found, "math-prm") == 0.0
    assert not [note for note in found["notes"] if "published" in note]


def test_both_averages_of_rewardbench():
    prior = {"anthropic_helpful": [1, 0], "shp": [1, 1, 1, 0]}
    found = rewardbench.aggregate(whole_rewardbench({"math-prm": 0.0}, prior))
    assert value(found, "Prior Sets") == pytest.approx((0.5 + 0.75) / 2)
    assert value(found, "RewardBench") == pytest.approx(3.5 / 4)
    assert value(found, "RewardBench with prior sets") == pytest.approx((2 * 3.5 + 0.625) / 9)
    masked = rewardbench.aggregate(whole_rewardbench({"math-prm": 0.0}))
    assert value(masked, "RewardBench with prior sets") == value(masked, "RewardBench")
    assert any("masked" in note for note in masked["notes"])


def test_equal_scores_are_wrong_as_published_and_half_beside():
    rows = [pair(i, 1.0, 1.0, subset=name) for i, name in enumerate(rewardbench.COUNTS)]
    found = rewardbench.aggregate(rows)
    assert (value(found, "RewardBench"), value(found, "RewardBench", "ties half")) == (0.0, 0.5)


@pytest.mark.parametrize("seed", range(3))
def test_rewardbench_is_the_formula_of_the_paper_on_drawn_scores(seed):
    rows = drawn_rewardbench(seed, ("anthropic_hhh", "summarize"))
    right = {}
    for row in rows:
        right.setdefault(row.tags["subset"], []).append(row.scores[1] > row.scores[0])
    means = {name: float(np.mean(each)) for name, each in right.items()}
    sections = {
        name: sum(means[s] * rewardbench.WEIGHTS[s] for s in subsets) / sum(rewardbench.WEIGHTS[s] for s in subsets)
        for name, subsets in rewardbench.SECTIONS.items()
    }
    prior = (means["anthropic_hhh"] + means["summarize"]) / 2
    found = rewardbench.aggregate(rows)
    assert {name: value(found, name) for name in sections} == pytest.approx(sections)
    assert value(found, "RewardBench") == pytest.approx(sum(sections.values()) / 4)
    assert value(found, "RewardBench with prior sets") == pytest.approx((2 * sum(sections.values()) + prior) / 9)


def test_a_section_without_rows_leaves_the_average_empty_and_is_named():
    rows = pairs([1, 0], subset="donotanswer") + pairs([1], 5, subset="of another version")
    found = rewardbench.aggregate(rows)
    assert figure(found, "RewardBench")["value"] is None
    assert value(found, "Safety") == 0.5
    notes = " ".join(found["notes"])
    assert "donotanswer: 2 rows, published 136" in notes
    assert "1 rows are outside the published subsets" in notes
    assert "2,849 published rows are missing" in notes


def test_best_of_four_gives_ties_one_over_their_number():
    scores = [(1, 0, 0, 0), (1, 1, 0, 0), (1, 1, 1, 1), (0, 1, 0, 0)]
    rows = [best_of(i, each, subset="Math") for i, each in enumerate(scores)]
    found = rewardbench2.aggregate(rows)
    assert value(found, "Math") == pytest.approx((1 + 1 / 2 + 1 / 4 + 0) / 4)
    assert value(found, "RewardBench 2") is None


def test_rewardbench2_is_the_plain_mean_of_its_subsets():
    names = [name for name in rewardbench2.COUNTS if name != "Ties"]
    rows = [best_of(i, (1, 0, 0, 0), subset=name) for i, name in enumerate(names)]
    rows += [best_of(90 + i, (0, 1, 0, 0), subset="Focus") for i in range(3)]
    rows += [best_of(i, (4, 1, 0, 0), subset="Ties", tie=f"ref:{i}") for i in (1, 2)]
    rows += [best_of(i, (4, 4.5, 1, 0), 2, subset="Ties", tie=f"tied:{i}") for i in (1, 2)]
    found = rewardbench2.aggregate(rows)
    ties = 1.0 + 0.01 * math.tanh(3 / 0.5 - 1)
    assert value(found, "Ties") == pytest.approx(ties)
    assert value(found, "RewardBench 2") == pytest.approx((4 + 0.25 + ties) / 6)


def formula_of_ties(rows):
    """The published formula, pair by pair."""
    gap, spread = {}, {}
    for row in rows:
        correct = {j.better for j in row.judgments}
        right = [s for k, s in enumerate(row.scores) if k in correct]
        wrong = [s for k, s in enumerate(row.scores) if k not in correct]
        gap[row.tags["tie"]] = min(right) - max(wrong)
        spread[row.tags["tie"]] = max(right) - min(right) if len(right) > 1 else None
    mean = {kind: np.mean([g > 0 for name, g in gap.items() if name.startswith(kind)]) for kind in ("tied", "ref")}
    both = [n.split(":")[1] for n in gap if n.startswith("tied") and n.replace("tied", "ref") in gap]
    both = [n for n in both if spread[f"tied:{n}"] is not None]
    least = {n: min(gap[f"tied:{n}"], gap[f"ref:{n}"]) for n in both}
    above = [gap[f"tied:{n}"] > spread[f"tied:{n}"] for n in both]
    hard = [least[n] > spread[f"tied:{n}"] for n in both]
    margin = [math.tanh(least[n] / spread[f"tied:{n}"] - 1) for n in both if spread[f"tied:{n}"] > 0]
    parts = [(0.3, mean["tied"]), (0.3, mean["ref"])]
    parts += [(w, np.mean(x)) for w, x in ((0.2, above), (0.2, hard), (0.01, margin)) if x]
    return sum(w * m for w, m in parts)


@pytest.mark.parametrize("grid", [2, 1000])
@pytest.mark.parametrize("seed", range(4))
def test_ties_score_is_the_published_formula(seed, grid):
    rows = drawn_ties(seed, grid)
    assert rewardbench2.ties_score(rows) == pytest.approx(formula_of_ties(rows))


def test_a_spread_of_zero_divides_nothing():
    rows = [best_of(1, (3, 1, 0), subset="Ties", tie="ref:1"), best_of(2, (3, 3, 1), 2, subset="Ties", tie="tied:1")]
    assert rewardbench2.ties_score(rows) == pytest.approx(1.0)
    assert rewardbench2.ties_score([]) == 0.0


@pytest.mark.parametrize("judgments", [(), ((0, 1), (1, 0))], ids=["none", "both ways"])
def test_a_prompt_of_ties_without_right_or_wrong_responses_is_not_right(judgments):
    """As in the published code: not right, a gap of 0, and no spread."""
    rows = [scored("1", (2.0, 1.0), judgments, tags={"subset": "Ties", "tie": f"{kind}:1"}) for kind in ("ref", "tied")]
    assert rewardbench2.ties_score(rows) == 0.0
    assert value(rewardbench2.aggregate(rows), "Ties") == 0.0


def test_the_ties_interval_is_the_same_at_every_call_and_moves_with_the_number_of_pairs():
    few, many = (rewardbench2.aggregate(drawn_ties(5, 1000, numbers)) for numbers in (10, 160))
    assert few == rewardbench2.aggregate(drawn_ties(5, 1000, 10))
    widths = [figure(each, "Ties")["high"] - figure(each, "Ties")["low"] for each in (few, many)]
    assert widths[0] / widths[1] == pytest.approx(4.0, rel=0.4)


def test_rows_of_ties_without_their_id_are_counted():
    found = rewardbench2.aggregate([best_of(1, (3, 1, 0), subset="Ties")])
    assert any("1 rows of Ties have no id" in note for note in found["notes"])
    assert figure(found, "Ties")["n"] == 0


def test_rm_bench_by_hand():
    """Chosen (1, 2, 3) against rejected (2, 2, 2): only markdown wins; two ties by style detailed."""
    rows = [styles(i, (1, 2, 3), (2, 2, 2), domain) for i, domain in enumerate(("chat", "code", "math"))]
    rows += [styles(7, (9, 9, 9), (0, 0, 0), "safety-refuse")]
    rows += [styles(i, (0, 0, 0), (9, 9, 9), "safety-response") for i in (8, 9, 10)]
    found = SUITES["rm-bench"].aggregate(rows)
    assert value(found, "Chat Hard") == 0.0
    assert (value(found, "Chat Normal"), value(found, "Chat Easy"), value(found, "Chat")) == pytest.approx(
        (1 / 3, 2 / 3, 1 / 3)
    )
    # Pooled: one of four rows, and not the mean of the two files.
    assert value(found, "Safety") == 0.25
    assert value(found, "RM-Bench") == pytest.approx((3 * 1 / 3 + 0.25) / 4)
    assert value(found, "Hard") == pytest.approx(0.25 / 4)
    assert value(found, "markdown above concise") == pytest.approx((3 + 0.25) / 4)
    assert value(found, "RM-Bench", "ties half") == pytest.approx((3 * 0.5 + 0.25) / 4)


def test_rm_bench_draws_agree_with_the_readme_and_total_by_domain_is_total_by_difficulty():
    draw = np.random.default_rng(0)
    domains = ["chat", "code", "math", "safety-refuse", "safety-response"]
    table = [(draw.integers(0, 6, 3), draw.integers(0, 6, 3), str(draw.choice(domains))) for _ in range(60)]
    found = SUITES["rm-bench"].aggregate([styles(i, tuple(c), tuple(r), d) for i, (c, r, d) in enumerate(table)])
    totals = []
    for domain in ("chat", "code", "math", "safety"):
        wins = [np.greater.outer(c, r) for c, r, d in table if d.startswith(domain)]
        matrix = np.mean(wins, axis=0)
        levels = [np.triu(matrix, 1).sum() / 3, np.diag(matrix).mean(), np.tril(matrix, -1).sum() / 3]
        names = [f"{domain.title()} {level}" for level in ("Hard", "Normal", "Easy")]
        assert [value(found, name) for name in names] == pytest.approx(levels)
        totals.append(np.mean(levels))
    assert value(found, "RM-Bench") == pytest.approx(np.mean(totals))
    assert np.mean([value(found, level) for level in ("Hard", "Normal", "Easy")]) == pytest.approx(np.mean(totals))


def test_rm_bench_refuses_rows_of_another_shape():
    with pytest.raises(DataError, match="has 1 judgments, and RM-Bench has 9"):
        SUITES["rm-bench"].aggregate([pair(1, 1, 0, domain="chat")])


def test_rmb_means_over_categories_first():
    tags = {"kind": "Pairwise_set", "goal": "Helpfulness"}
    rows = pairs([1, 1, 1, 0], category="Chat/Discussion", **tags) + pairs([0], 9, category="Code/Data", **tags)
    bon = {"kind": "BoN_set", "goal": "Harmlessness", "category": "S1"}
    rows += [best_of(20, (3, 2, 1), **bon), best_of(21, (3, 4, 1), **bon), best_of(22, (3, 3, 1), **bon)]
    found = SUITES["rmb"].aggregate(rows)
    assert value(found, "Helpfulness Pairwise", "categories equal") == pytest.approx(0.375)
    assert value(found, "Helpfulness Pairwise", "ties half, every row once") == pytest.approx(0.6)
    assert value(found, "Harmlessness Best of N", "categories equal") == pytest.approx(1 / 3)
    assert value(found, "Harmlessness Best of N", "categories equal, ties half") == pytest.approx(0.5)
    assert value(found, "Helpfulness Pairwise: Chat/Discussion") == 0.75
    assert value(found, "RMB", "categories equal") is None
    assert sum("no rows of" in note for note in found["notes"]) == 2


def test_judgebench_keeps_response_models_apart():
    one = pairs([1, 1, 0], domain="Knowledge", response_model="gpt-4o-2024-05-13")
    other = pairs([0, 0], 9, domain="Coding", response_model="claude-3-5-sonnet-20240620")
    found = SUITES["judgebench"].aggregate(one + other)
    assert value(found, "Overall (gpt-4o-2024-05-13)") == pytest.approx(2 / 3)
    assert value(found, "Overall (claude-3-5-sonnet-20240620)") == 0.0
    assert value(SUITES["judgebench"].aggregate(one), "Overall") == pytest.approx(2 / 3)
    assert any("3 rows, published 350" in note for note in found["notes"])


def test_llmbar_adversarial_is_the_mean_of_four_sets():
    rows = pairs([1], subset="Natural") + pairs([1, 1, 1], 5, subset="Neighbor") + pairs([0], 10, subset="GPTInst")
    rows += pairs([0.5], 20, subset="GPTOut") + pairs([1], 30, subset="Manual")
    found = SUITES["llmbar"].aggregate(rows)
    assert value(found, "Adversarial") == pytest.approx(0.5)
    assert value(found, "Adversarial", "ties half") == pytest.approx(2.5 / 4)
    assert value(found, "Natural") == 1.0


def test_hhh_and_evalbiasbench_by_hand():
    hhh = pairs([1, 0], subset="harmless") + pairs([1, 1], 5, subset="other")
    found = SUITES["hhh"].aggregate(hhh)
    assert (value(found, "harmless"), value(found, "other"), value(found, "Overall")) == (0.5, 1.0, 0.75)
    names = SUITES["evalbiasbench"].sections
    rows = [row for i, name in enumerate(names) for row in pairs([1] if i else [0, 0, 0], 10 * i, subset=name)]
    found = SUITES["evalbiasbench"].aggregate(rows)
    assert value(found, "length") == 0.0
    assert value(found, "Mean of biases", "biases equal") == pytest.approx(5 / 6)
    assert value(found, "All pairs", "every pair once") == pytest.approx(5 / 8)


def rows_of(name):
    """A few rows of each suite."""
    if name == "rewardbench":
        return drawn_rewardbench(1)
    if name == "rewardbench2":
        subsets = [best_of(i, (1, i % 2, 0, 0), subset=s) for i, s in enumerate(("Factuality", "Math") * 4)]
        return subsets + drawn_ties(1, 1000)
    if name == "rm-bench":
        return [styles(i, (1, 2, i), (2, 1, 0), d) for i, d in enumerate(("chat", "math", "code", "safety-refuse") * 3)]
    tags = {"goal": "Helpfulness", "kind": "BoN_set", "category": "Chat", "domain": "Math", "response_model": "m"}
    sections = SUITES[name].sections
    return [pair(i, i % 3, 1, prompt=f"p{i // 2}", subset=s, **tags) for i, s in enumerate(sections * 4)]


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_gives_plain_records_and_knows_no_order(name):
    rows = rows_of(name)
    found = SUITES[name].aggregate(rows)
    assert json.loads(json.dumps(found)) == found
    assert list(found) == ["benchmark", "scheme", "figures", "notes"]
    for each in found["figures"]:
        assert list(each) == ["name", "scheme", "value", "low", "high", "n", "clusters"]
        if each["value"] is not None:
            assert each["low"] <= each["value"] <= each["high"], each
    assert len({(f["name"], f["scheme"]) for f in found["figures"]}) == len(found["figures"])
    assert SUITES[name].aggregate([swap(row) for row in rows[::-1]])["figures"] == found["figures"]
    assert SUITES[name].aggregate([])["figures"]


def test_the_tag_of_all_rows_marks_a_benchmark():
    rows = pairs([1, 0], subset="harmless", benchmark="hhh")
    found = benchmark_figures(rows)["benchmark"]
    assert suite_of(rows) is SUITES["hhh"]
    keys = [key for key, _ in headlines(found)]
    assert keys == ["overall", "harmless", "helpful", "honest", "other"]
    assert all(f["scheme"] == "published" for _, f in headlines(found))
    assert benchmark_figures([*rows, pair(9, 1, 0)]) == {}
    assert benchmark_figures([]) == {}


@given(name=st.sampled_from(sorted(SUITES)), rows=tables(min_rows=0), data=st.data())
def test_rows_of_any_judgments_have_figures_or_are_refused(name, rows, data):
    """A file of the user's own may carry the tag by chance; an evaluation must not end in a traceback."""
    names = st.sampled_from([*SUITES[name].sections, "", "shp"])
    kinds = st.sampled_from(["BoN_set", "Pairwise_set"])
    marked = [
        replace(
            row,
            judgments=data.draw(st.sampled_from([row.judgments, row.judgments[:1], ()])),
            tags={"tie": data.draw(st.sampled_from(["ref:1", "tied:1", "tied:2", ""])), "kind": data.draw(kinds)}
            | dict.fromkeys(("subset", "domain", "category", "goal"), data.draw(names)),
        )
        for row in rows
    ]
    if name == "rm-bench" and any(len(row.judgments) != 9 for row in marked):
        with pytest.raises(DataError, match="and RM-Bench has 9"):
            SUITES[name].aggregate(marked)
        return
    found = SUITES[name].aggregate(marked)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    for each in found["figures"]:
        assert each["value"] is None or each["low"] <= each["value"] <= each["high"]


def test_the_table_shows_equal_figures_once_and_marks_few_prompts():
    rows = pairs([1, 0.5] + [1] * 40, subset="harmless") + pairs([1, 0], 90, subset="honest")
    lines = show(SUITES["hhh"].aggregate(rows), "HHH").splitlines()
    named = [line.split()[:4] for line in lines if line.startswith(("harmless", "honest"))]
    assert named == [
        ["harmless", "published", "97.6", "[92.8,"],
        ["honest", "published", "50.0", "[0.0,"],
        ["harmless", "ties", "half", "98.8"],
    ]
    assert ["]*" in line for line in lines if line.startswith(("harmless", "honest"))] == [False, True, False]
    assert "3 figures by another scheme are equal to figures above" in lines
    assert "* fewer than 30 prompts: the interval is rough" in lines


def test_prompts_of_the_training_data_are_counted_and_named():
    rows = pairs([1, 0, 1], subset="honest")
    assert overlap(rows, {"p1", "p9"}, "runs/x") == ["1 of 3 prompts are in the training data of runs/x: rows 1"]
    assert overlap(rows, set(), "runs/x") == ["none of 3 prompts is in the training data of runs/x"]


def test_a_score_that_is_no_number_is_refused():
    row = scored("x", (math.nan, 1.0), tags={"subset": "harmless"})
    for suite in SUITES.values():
        with pytest.raises(DataError, match="not a finite number"):
            suite.aggregate([row])
