"""Comparison of models: paired figures by hand and against scipy and statsmodels, and items that differ."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.errors import DataError, UserError
from bradley.evaluate.compare import compare, holm, mcnemar
from bradley.evaluate.matching import match
from bradley.evaluate.power import pairs_needed, reach
from bradley.records import Comparison, Judgment, Message, Response

from .tables import scored


def rows(margins, prompts=None, **rest):
    prompts = prompts or [str(i) for i in range(len(margins))]
    return [
        scored(str(i), (margin, 0.0), prompt=prompt, **rest)
        for i, (margin, prompt) in enumerate(zip(margins, prompts, strict=True))
    ]


def only(found):
    (pair,) = found["pairs"]
    return pair


def test_the_difference_by_hand():
    # Right, right, wrong, tie against right, wrong, wrong, right.
    pair = only(compare({"a": rows([1, 1, -1, 0]), "b": rows([1, -1, -1, 1])}))
    assert pair["accuracy"]["value"] == (0 - 1 + 0 + 0.5) / 4
    assert [pair["changed"][key]["judgments"] for key in ("gained", "lost")] == [1, 1]
    assert pair["changed"]["same"] == 2
    assert pair["changed"]["lost"]["largest"] == [{"id": "1", "source": "", "margin_a": 1.0, "margin_b": -1.0}]


def test_discordant_share_and_design_effect_by_hand():
    # Differences 0, -1, 0, 1/2: a tie on one side counts a quarter.
    pair = only(compare({"a": rows([1, 1, -1, 0]), "b": rows([1, -1, -1, 1])}))
    assert pair["discordant"] == (1 + 1 / 4) / 4 and pair["design_effect"] == pytest.approx(1.0)
    # Four equal judgments a prompt are worth one: with G prompts the variance is 4 (n - 1) / n * G / (G - 1) as large.
    prompts = [str(i // 4) for i in range(80)]
    pair = only(compare({"a": rows([1] * 80, prompts), "b": rows(([1] * 4 + [-1] * 4) * 10, prompts)}))
    assert pair["discordant"] == 0.5 and pair["design_effect"] == pytest.approx(4 * (79 / 80) * (20 / 19))
    same = only(compare({"a": rows([1, 1]), "b": rows([1, 1])}))
    assert (same["discordant"], same["design_effect"], same["identical"]) == (0.0, None, True)
    assert not pair["identical"]


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_the_figures_of_a_comparison_say_how_many_pairs_show_what_it_can_show(seed, size):
    """`pairs_needed`, given the figures of a set for the difference that the set can show, counts the set's pairs."""
    generator, n = np.random.default_rng(seed), 240
    prompts = [str(i // size) for i in range(n)]
    shared = np.repeat(generator.normal(size=n), size)[:n]
    found = compare({name: rows((shared * generator.normal(size=n)).tolist(), prompts) for name in "ab"}, draws=2)
    pair = only(found)
    mean, least = pair["accuracy"]["value"], pair["smallest_difference"]["paired"]
    spread = pair["design_effect"] * (pair["discordant"] - mean**2) / (n - 1)
    clusters = pair["accuracy"]["clusters"]
    assert least == pytest.approx(reach(clusters=clusters) * math.sqrt(spread))
    known = {"discordant": pair["discordant"], "design_effect": pair["design_effect"]}
    (needed,) = pairs_needed(0.5, least, **known)["paired"]
    # A plan has normal quantiles: the prompts of a set that is not yet there are many.
    wanted = (n - 1) * (pair["discordant"] - least**2) / (pair["discordant"] - mean**2)
    wanted *= (reach() / reach(clusters=clusters)) ** 2
    assert needed["pairs"] == pytest.approx(wanted, abs=1)


def test_the_test_is_the_paired_t_test_where_every_prompt_has_one_pair():
    from scipy.stats import ttest_rel

    generator = np.random.default_rng(0)
    a, b = generator.normal(0.3, 1, size=200), generator.normal(0.5, 1, size=200)
    pair = only(compare({"a": rows(a.tolist()), "b": rows(b.tolist())}))
    other = ttest_rel((b > 0).astype(float), (a > 0).astype(float))
    assert pair["accuracy"]["p"] == pytest.approx(other.pvalue)
    interval = other.confidence_interval()
    assert (pair["accuracy"]["low"], pair["accuracy"]["high"]) == pytest.approx((interval.low, interval.high))
    assert pair["bootstrap"]["low"] == pytest.approx(interval.low, abs=0.02)
    gained, lost = int(((b > 0) & (a <= 0)).sum()), int(((b <= 0) & (a > 0)).sum())
    assert pair["mcnemar"] == {"gained": gained, "lost": lost, "p": mcnemar(gained, lost)}


def test_mcnemar_and_holm_agree_with_statsmodels():
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    assert mcnemar(9, 3) == pytest.approx(tables.mcnemar([[50, 3], [9, 40]], exact=True).pvalue)
    p = [0.03, 0.001, 0.2, 0.04, 0.04]
    assert holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1].tolist())
    assert holm([None, 0.01]) == [None, 0.01]


def test_several_pairs_of_a_prompt_leave_out_mcnemar_and_widen_the_interval():
    margins, prompts = [1, 1, -1, -1] * 20, [str(i // 4) for i in range(80)]
    twice = only(compare({"a": rows([1] * 80, prompts), "b": rows(margins, prompts)}))
    assert twice["mcnemar"] is None
    assert twice["accuracy"]["clusters"] == 20


def test_a_model_against_itself_differs_in_nothing():
    same = rows(np.random.default_rng(1).normal(size=50).tolist())
    pair = only(compare({"a": same, "b": list(reversed(same))}))
    assert pair["accuracy"]["value"] == 0
    # No difference in 50 prompts: a difference on 7 % of all prompts would go unseen in one set of forty.
    assert pair["accuracy"]["high"] == -pair["accuracy"]["low"] == pytest.approx(1 - 0.025 ** (1 / 50))
    assert pair["accuracy"]["p"] == 1.0 and pair["mcnemar"]["p"] == 1.0
    assert pair["nll"]["value"] == pair["ece"]["value"] == 0


def test_ece_and_nll_are_those_of_the_models():
    from bradley.evaluate.ece import ece_figures
    from bradley.evaluate.judgments import judgment_table
    from bradley.evaluate.summary import summarize

    generator = np.random.default_rng(2)
    a, b = rows(generator.normal(0.5, 1, 300).tolist()), rows(generator.normal(0.5, 3, 300).tolist())
    pair = only(compare({"a": a, "b": b}, beta={"a": 1.0, "b": 0.5}))
    ece = [ece_figures(judgment_table(x), beta)["equal_width"]["ece"] for x, beta in ((a, 1.0), (b, 0.5))]
    assert pair["ece"]["value"] == pytest.approx(ece[1] - ece[0])
    assert pair["ece"]["low"] < pair["ece"]["value"] < pair["ece"]["high"]
    nll = [summarize(x, beta=beta)["nll_per_judgment"] for x, beta in ((a, 1.0), (b, 0.5))]
    assert pair["nll"]["value"] == pytest.approx(nll[1] - nll[0])


def test_seeds_are_replicates():
    generator = np.random.default_rng(3)
    seeds = {
        name: [rows(generator.normal(shift, 1, 100).tolist()) for _ in range(3)] for name, shift in (("a", 0), ("b", 1))
    }
    found = compare(seeds)
    pair = only(found)
    means = {name: [np.mean([row.scores[0] > 0 for row in one]) for one in each] for name, each in seeds.items()}
    assert found["models"]["a"]["seeds"] == pytest.approx(means["a"])
    assert pair["accuracy"]["value"] == pytest.approx(np.mean(means["b"]) - np.mean(means["a"]))
    from scipy.stats import ttest_ind

    welch = ttest_ind(means["b"], means["a"], equal_var=False).confidence_interval()
    over = pair["seeds"]["over_seeds"]
    assert (over["low"], over["high"]) == pytest.approx((welch.low, welch.high))
    both = pair["seeds"]["both"]
    assert both["low"] < min(over["low"], pair["accuracy"]["low"]) and both["high"] > max(
        over["high"], pair["accuracy"]["high"]
    )
    assert pair["mcnemar"] is None and pair["nll"] is None


def test_three_models_are_corrected_for_three_tests():
    generator = np.random.default_rng(4)
    found = compare({name: rows(generator.normal(0.2, 1, 80).tolist()) for name in "abc"})
    p = [pair["accuracy"]["p"] for pair in found["pairs"]]
    assert [pair["accuracy"]["p_holm"] for pair in found["pairs"]] == holm(p)
    assert found["tests"] == 3


def test_the_order_of_rows_and_judgments_changes_nothing():
    judgments = [(0, 1), (1, 2), (0, 2)]
    first = [scored(str(i), (i % 3, 1, 0.5), judgments, str(i % 4)) for i in range(12)]
    second = [scored(str(i), (1, i % 2, 0.5), judgments, str(i % 4)) for i in range(12)]
    turned = [scored(str(i), (1, i % 2, 0.5), judgments[::-1], str(i % 4)) for i in reversed(range(12))]
    assert compare({"a": first, "b": second}) == compare({"a": first, "b": turned})


@given(st.sampled_from(["missing", "extra", "label", "prompt", "twice", "responses"]))
def test_other_items_are_an_error_that_lists_them(kind):
    first = rows([1.0, 2.0, 3.0])
    second = {
        "missing": first[:2],
        "extra": [*first, scored("new", (1, 0))],
        "label": [*first[:2], scored("2", (1, 0), [(1, 0)], "2")],
        "prompt": [*first[:2], scored("2", (1, 0), prompt="other")],
        "twice": [*first, first[2]],
        "responses": [*first[:2], scored("2", (1, 0, 2), prompt="2")],
    }[kind]
    with pytest.raises(DataError) as refused:
        compare({"a": first, "b": second})
    assert ("new" if kind == "extra" else "2") in refused.value.message and refused.value.hint


def test_ids_shared_by_two_sources_are_told_apart():
    both = [scored("1", (1, 0), prompt="p", source="x"), scored("1", (0, 1), prompt="q", source="y")]
    assert compare({"a": both, "b": both[::-1]})["items"] == 2
    elsewhere = [scored("1", (1, 0), prompt="p", source="other tool")]
    assert compare({"a": both[:1], "b": elsewhere})["items"] == 1


def test_one_model_is_no_comparison():
    with pytest.raises(UserError):
        compare({"a": rows([1.0])})


def test_a_single_prompt_has_no_p_value():
    pair = only(compare({"a": rows([1, 1], ["p", "p"]), "b": rows([1, -1], ["p", "p"])}))
    assert pair["accuracy"]["p"] is None
    assert (pair["accuracy"]["low"], pair["accuracy"]["high"]) == (-1.0, 1.0)
    assert not math.isnan(pair["accuracy"]["value"])


@pytest.mark.parametrize("seeds", [1, 2])
def test_sets_of_ties_alone_compare_to_nothing(seeds):
    import json

    tied = [scored(str(i), (1, 0), [(0, 1, 0.5)], str(i)) for i in range(4)]
    found = compare({name: [tied] * seeds for name in "ab"})
    json.dumps(found, allow_nan=False)
    assert only(found)["accuracy"]["value"] is None and only(found)["accuracy"]["p"] is None


@given(st.floats(0.5, 1), st.floats(1e-3, 1e3), st.floats(-1e6, 1e6))
def test_judgments_that_went_through_single_precision_are_the_same(probability, weight, margin):
    """A token store keeps the numbers of a judgment in float32, and a file of scores keeps them as written."""
    (row,) = rows([1.0])
    written = replace(row, judgments=(Judgment(0, 1, probability, margin, weight),))
    single = Judgment(0, 1, *(float(np.float32(value)) for value in (probability, margin, weight)))
    assert compare({"a": [written], "b": [replace(row, judgments=(single,))]})["items"] == 1
    answers = tuple(Response((Message("assistant", text),)) for text in "xy")
    texts = Comparison("0", "0", (Message("user", "p"),), answers, written.judgments)
    assert match([replace(row, judgments=(single,))], [texts]).unscored == 0
