import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.errors import DataError
from bradley.evaluate.matching import match
from bradley.evaluate.shortcuts import clustered_gap, shortcuts
from bradley.evaluate.summary import summarize
from bradley.records import Judgment, Message
from tests.helpers import needs_data, read_gz

from .tables import numbers, real_pairs, scored, swap, words, written, written_tables


def test_every_figure_by_hand():
    rows = [
        scored("a", (2.0, 0.0), prompt="p", lengths=(30, 10)),  # longer is better, scores agree
        scored("b", (0.0, 1.0), prompt="p", lengths=(20, 10)),  # longer is better, scores disagree
        scored("c", (3.0, 1.0), prompt="q", lengths=(10, 20)),  # shorter is better, scores agree
        scored("d", (1.0, 1.0), prompt="r", lengths=(54, 60)),  # just matched, equal scores
        scored("e", (9.0, 1.0), [(0, 1, 0.5)], prompt="r", lengths=(1, 1)),  # a tie, which decides nothing
    ]
    texts = [("- a\n- b", "c"), ("# x", "y"), ("I can't", "**z** why"), ("why", "```\nx"), ("one", "two")]
    figures = shortcuts(rows, [written(row, pair) for row, pair in zip(rows, texts, strict=True)])
    assert (figures["judgments"], figures["prompts"], figures["unscored"], figures["unit"]) == (4, 3, 0, "tokens")
    longer = figures["rules"]["longer"]
    assert (longer["alone"]["value"], longer["alone"]["n"], longer["alone"]["clusters"]) == (0.5, 4, 3)
    assert longer["equal_share"] == 0.0
    assert (longer["agrees"]["value"], longer["agrees"]["n"], longer["agrees"]["clusters"]) == (0.5, 2, 1)
    assert (longer["disagrees"]["value"], longer["disagrees"]["n"]) == (0.75, 2)
    assert longer["gap"]["value"] == -0.25
    alone = {name: rule["alone"]["value"] for name, rule in figures["rules"].items()}
    assert alone == {
        "longer": 0.5,
        "more_list_items": 5 / 8,
        "more_headers": 5 / 8,
        "more_bold": 3 / 8,
        "more_code_blocks": 3 / 8,
        "refuses": 5 / 8,
        "more_overlap": 4 / 8,
    }
    assert figures["rules"]["more_headers"]["equal_share"] == 0.75
    assert figures["rules"]["more_headers"]["disagrees"]["reason"] == "the shortcut is wrong nowhere"
    assert figures["rules"]["more_headers"]["gap"]["reason"] == "no pairs in one of the two groups"
    assert (figures["length_matched"]["value"], figures["length_matched"]["n"]) == (0.5, 1)
    assert figures["length_matched"]["share"] == 0.25
    # Lengths and scores minus the mean of the prompt: p has mean 17.5 and 0.75; q 15 and 2; r 29 and 3.
    x = np.array([12.5, -7.5, 2.5, -7.5, -5, 5, 25, 31, -28, -28]) / 100
    y = np.array([1.25, -0.75, -0.75, 0.25, 1, -1, -2, -2, 6, -2])
    assert figures["slope"]["value"] == pytest.approx((x @ y) / (x @ x))
    assert figures["slope"]["score_deviation"] == pytest.approx(np.sqrt(np.mean(y**2)))
    assert (figures["slope"]["n"], figures["slope"]["clusters"]) == (10, 3)


def test_gap_and_slope_have_the_errors_of_clustered_least_squares():
    sm = pytest.importorskip("statsmodels.api", reason="statsmodels is the oracle of the sandwich")
    draw = np.random.default_rng(0)
    cluster = draw.integers(0, 40, 300)
    side, values = draw.integers(-1, 2, 300), draw.integers(0, 2, 300).astype(float)
    either = side != 0
    design = np.stack([side[either] > 0, np.ones(either.sum())], axis=1).astype(float)
    fit = sm.OLS(values[either], design).fit(cov_type="cluster", cov_kwds={"groups": cluster[either]}, use_t=True)
    found, correction = clustered_gap(values, side > 0, side < 0, cluster), (either.sum() - 1) / (either.sum() - 2)
    assert found["value"] == pytest.approx(fit.params[0])
    assert found["se"] * np.sqrt(correction) == pytest.approx(fit.bse[0])

    rows = [
        scored(
            f"{i}",
            draw.normal(size=3).round(2),
            [(0, 1)],
            prompt=f"p{i % 20}",
            lengths=draw.integers(1, 200, 3).tolist(),
        )
        for i in range(60)
    ]
    slope = shortcuts(rows, [written(row, ("a" + row.id, "b" + row.id, "unjudged")) for row in rows])["slope"]
    prompt = np.repeat([i % 20 for i in range(60)], 2)
    x = np.array([length for row in rows for length in row.response_tokens[:2]]) / 100
    y = np.array([score for row in rows for score in row.scores[:2]])
    design = np.hstack([x[:, None], np.eye(20)[prompt]])
    fit = sm.OLS(y, design).fit(cov_type="cluster", cov_kwds={"groups": prompt}, use_t=True)
    assert slope["value"] == pytest.approx(fit.params[0])
    assert slope["se"] * np.sqrt((120 - 1) / (120 - 21)) == pytest.approx(fit.bse[0])
    low, high = fit.params[0] - (fit.params[0] - fit.conf_int()[0][0]) * slope["se"] / fit.bse[0], slope["high"]
    assert (slope["low"], high) == (pytest.approx(low), pytest.approx(2 * fit.params[0] - low))


def test_a_response_in_several_comparisons_of_a_prompt_counts_once_in_the_slope():
    pair = scored("a", (2.0, 0.0), prompt="p", lengths=(30, 10))
    other = scored("b", (5.0, 1.0), prompt="q", lengths=(40, 10))
    rows = [pair, replace(pair, id="again"), other]
    once = shortcuts([pair, other], [written(pair, ("x", "y")), written(other, ("x", "y"))])["slope"]
    twice = shortcuts(rows, [written(row, ("x", "y")) for row in rows])["slope"]
    assert once["value"] is not None and twice == once


@given(written_tables(), st.randoms(use_true_random=False))
def test_order_of_rows_and_sides_changes_nothing(table, random):
    rows, comparisons = table
    figures = shortcuts(rows, comparisons)
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    shuffled = random.sample(rows, len(rows))
    found = numbers(
        shortcuts([swap(row) for row in shuffled], [c.swap() for c in random.sample(comparisons, len(rows))])
    )
    assert list(found) == list(numbers(figures))
    for path, value in numbers(figures).items():
        assert found[path] == (value if value is None or isinstance(value, str) else pytest.approx(value, abs=1e-9)), (
            path
        )
    for rule in figures["rules"].values():
        for accuracy in ("alone", "agrees", "disagrees"):
            assert (rule[accuracy]["value"] is None) == (rule[accuracy]["reason"] is not None)
    summary = summarize(rows)["length"]
    assert all(figures["rules"]["longer"]["alone"][name] == summary[name] for name in ("value", "low", "high", "n"))


def test_a_shortcut_that_is_the_model_has_a_gap_of_one_with_an_honest_interval():
    rows = [scored(f"{i}", (length, 10), prompt=f"{i}", lengths=(length, 10)) for i, length in enumerate((5, 20) * 20)]
    figures = shortcuts(rows, [written(row, ("a", "b")) for row in rows])
    gap = figures["rules"]["longer"]["gap"]
    assert (gap["value"], gap["high"]) == (1.0, 1.0) and 0.7 < gap["low"] < 0.8
    assert figures["slope"]["value"] == pytest.approx(100.0)


def test_scores_without_token_counts_are_measured_in_words():
    rows = [replace(scored("a", (1.0, 0.0)), response_tokens=(0, 0))]
    figures = shortcuts(rows, [written(rows[0], (words(9), words(4)))])
    assert figures["unit"] == "words" and figures["rules"]["longer"]["alone"]["value"] == 1.0
    assert figures["slope"]["value"] == pytest.approx(1 / 5 * 100)


def test_overlap_is_with_the_last_turn_of_the_prompt():
    row = scored("a", (1.0, 0.0))
    turns = tuple(Message(role, text) for role, text in (("user", "red"), ("assistant", "ok"), ("user", "green")))
    comparison = replace(written(row, ("green", "red")), prompt=turns)
    assert shortcuts([row], [comparison])["rules"]["more_overlap"]["alone"]["value"] == 1.0


def test_rows_and_comparisons_that_do_not_belong_together_are_refused():
    row = scored("a", (1.0, 0.0), source="s")
    comparison = written(row, ("x", "y"))
    other = replace(comparison, id="b")
    assert shortcuts([row], [other, comparison])["unscored"] == 1
    for rows, comparisons, message in [
        ([row], [other], "no comparison has the source 's' and the id 'a'"),
        ([row, row], [comparison], "2 scored rows have the source 's' and the id 'a'"),
        ([row], [comparison, comparison], "2 comparisons have the source"),
        ([replace(row, prompt_key="z")], [comparison], "differs from its scored row"),
        ([replace(row, judgments=(Judgment(1, 0),))], [comparison], "differs from its scored row"),
        ([scored("a", (1.0, 0.0, 2.0), source="s")], [comparison], "differs from its scored row"),
        ([replace(row, scores=(float("nan"), 0.0))], [comparison], "not a finite number"),
    ]:
        with pytest.raises(DataError, match=message):
            shortcuts(rows, comparisons)
    table = match([row], [comparison])
    assert shortcuts(table) == shortcuts([row], [comparison])
    with pytest.raises(ValueError, match="pass the table alone"):
        shortcuts(table, [comparison])
    with pytest.raises(ValueError, match="pass their comparisons"):
        shortcuts([row])


def test_nothing_gives_none_with_reasons():
    figures = shortcuts([], [])
    assert figures["judgments"] == 0
    assert figures["rules"]["longer"]["alone"]["reason"] == "no judgments"
    assert figures["slope"]["reason"] == "no prompt with responses of two lengths"
    assert figures["length_matched"]["reason"] == "no pair of nearly equal length"
    assert all(value is None or isinstance(value, str | int) for value in numbers(figures).values())


def test_a_length_scorer_on_human_pairs_is_all_shortcut():
    rows, comparisons = real_pairs(read_gz(needs_data("human_mix", "val.jsonl.gz")))
    figures = shortcuts(rows, comparisons)
    longer = figures["rules"]["longer"]
    # 57.4 % by characters (README of the data), 56.6 % by words and a tenth of the characters.
    assert longer["alone"]["value"] == pytest.approx(0.57, abs=0.012)
    assert (longer["agrees"]["value"], longer["disagrees"]["value"], longer["gap"]["value"]) == (1.0, 0.0, 1.0)
    assert figures["slope"]["value"] == pytest.approx(100.0) and figures["slope"]["se"] == pytest.approx(0, abs=1e-9)
    # On pairs of nearly equal length, length knows next to nothing.
    assert figures["length_matched"]["low"] < 0.5 < figures["length_matched"]["high"]
    assert figures["length_matched"]["n"] > 100


def test_evalbiasbench_is_made_to_fool_a_length_scorer():
    rows, comparisons = real_pairs(read_gz(needs_data("evalbiasbench", "pairs.jsonl.gz")))
    longer = shortcuts(rows, comparisons)["rules"]["longer"]
    assert longer["alone"]["n"] == 80 and longer["alone"]["high"] < 0.5
    assert longer["disagrees"]["n"] > 2 * longer["agrees"]["n"]
