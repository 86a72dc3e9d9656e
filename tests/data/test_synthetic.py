"""Synthetic preferences: the reward, the noise and the shortcuts are what the module says they are."""

import math
import re
from collections import Counter
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.config import Synthetic
from bradley.data.synthetic import ATTRIBUTES, WORTH, compose, label_probability, label_scale, true_reward
from bradley.records import prompt_key

PROMPT = "Please tell me a short story about a red fox near the harbour."


@pytest.fixture(scope="module")
def full():
    return compose(Synthetic(comparisons=4000, noise_rate=0.1), seed=3)


@pytest.fixture(scope="module")
def views():
    return {view: compose(Synthetic(comparisons=1500, noise_rate=0.0, view=view), 5) for view in VIEWS}


VIEWS = ("full", "prompt", "response")


def shown(comparison):
    return comparison.prompt[0].content, [response.text for response in comparison.responses]


def gaps(comparisons):
    """True reward of the labelled better response minus that of the worse, one per judgment."""
    scores = [[r.score for r in c.responses] for c in comparisons]
    return np.array([s[j.better] - s[j.worse] for c, s in zip(comparisons, scores, strict=True) for j in c.judgments])


def labelled(comparison):
    """Texts of a pair, the preferred one first."""
    judgment = comparison.judgments[0]
    return comparison.responses[judgment.better].text, comparison.responses[judgment.worse].text


@pytest.mark.parametrize(
    ("response", "length_weight", "expected"),
    [
        ("Once there was a red fox who lived behind the harbour.", 0.0, 2.4),
        ("Once there was a red bear who lived behind the harbour.", 0.0, 1.4),
        ("Once there was a blue fox who lived behind the castle.", 0.0, 1.0),
        ("Once there was a blue bear who lived behind the castle.", 0.0, 0.0),
        # Sentences after the first are 0, 1, 2 or 3: mean 3/2, variance 5/4.
        ("Once there was a blue fox who lived behind the castle.", 2.0, 1 - 2 * 1.5 / math.sqrt(1.25)),
        (
            "A blue bear lived by the castle. The rain waited at noon. Nobody slept. It rained.",
            1.0,
            1.5 / math.sqrt(1.25),
        ),
        ("", 0.0, 0.0),
    ],
)
def test_true_reward_of_texts_by_hand(response, length_weight, expected):
    assert true_reward(PROMPT, response, length_weight) == pytest.approx(expected, abs=1e-6)


def test_the_score_is_the_reward_by_position_in_the_templates(full):
    """The same reward read from the sentence pattern instead of from the set of words."""
    asked = re.compile(r"about a (?P<colour>\w+) (?P<animal>\w+) .*the (?P<place>\w+)[.?]$")
    named = re.compile(r"\ba (?P<colour>\w+) (?P<animal>\w+) [^.]*?the (?P<place>\w+)( until that day)?\.")
    for comparison in full[:500]:
        want = asked.search(comparison.prompt[0].content).groupdict()
        for response in comparison.responses:
            got = named.search(response.text).groupdict()
            assert response.score == pytest.approx(sum(WORTH[a] for a in WORTH if want[a] == got[a]), abs=1e-6)


def test_records(full):
    assert [c.id for c in full[:2]] == ["synthetic-000000", "synthetic-000001"]
    assert len({c.id for c in full}) == len(full) == 4000
    for comparison in full:
        assert comparison.source == "synthetic"
        assert comparison.rank is None
        assert comparison.prompt_key == prompt_key(comparison.prompt)
        assert [m.role for m in comparison.prompt] == ["user"]
        assert [m.role for r in comparison.responses for m in r.messages] == ["assistant"] * 2
        assert len(comparison.judgments) == 1


def test_texts_are_varied_and_of_readable_length(full):
    prompts = {c.prompt[0].content for c in full}
    assert len(prompts) > 0.99 * len(full)
    assert len({c.prompt_key for c in full}) == len(prompts)
    lengths = [len(text.split()) for c in full for text in (c.prompt[0].content, *(r.text for r in c.responses))]
    assert min(lengths) >= 9
    assert max(lengths) <= 40
    assert np.std([len(r.text.split()) for c in full for r in c.responses]) > 5


def test_every_text_names_each_attribute_exactly_once(full):
    for comparison in full[:500]:
        for text in (comparison.prompt[0].content, *(r.text for r in comparison.responses)):
            words = re.findall(r"\w+", text)
            assert [sum(words.count(value) for value in values) for values in ATTRIBUTES.values()] == [1, 1, 1]


def test_the_first_rows_do_not_depend_on_their_number(full):
    assert compose(Synthetic(comparisons=50), 3) == full[:50]
    assert compose(Synthetic(comparisons=50), 4)[0] != full[0]


@given(
    seed=st.integers(0, 2**31),
    responses=st.integers(2, 8),
    length_weight=st.sampled_from([0.0, -1.0, 0.2, 3.0]),
    noise=st.sampled_from(["bradley_terry", "threshold"]),
    view=st.sampled_from(VIEWS),
)
def test_every_two_responses_that_differ_in_reward_are_judged_once(seed, responses, length_weight, noise, view):
    chosen = Synthetic(comparisons=2, responses=responses, length_weight=length_weight, noise=noise, view=view)
    for comparison in compose(chosen, seed):
        scores = [r.score for r in comparison.responses]
        differing = {pair for pair in combinations(range(responses), 2) if scores[pair[0]] != scores[pair[1]]}
        judged = [tuple(sorted((j.better, j.worse))) for j in comparison.judgments]
        assert len(scores) == responses
        assert len(judged) == len(differing)
        assert set(judged) == differing
        assert {j.probability for j in comparison.judgments} == {1.0}


@pytest.mark.parametrize("noise", ["bradley_terry", "threshold"])
@pytest.mark.parametrize(("responses", "length_weight"), [(2, 0.0), (2, 0.7), (4, -1.0)])
def test_the_share_of_wrong_labels_is_the_noise_rate(noise, responses, length_weight):
    chosen = Synthetic(comparisons=2000, responses=responses, noise=noise, noise_rate=0.2, length_weight=length_weight)
    wrong = gaps(compose(chosen, 11)) < 0
    # Judgments of one comparison share responses, so the standard error counts comparisons.
    assert wrong.mean() == pytest.approx(0.2, abs=4 * math.sqrt(0.2 * 0.8 / 2000))


def test_no_noise_means_the_true_order():
    for noise, responses in product(("bradley_terry", "threshold"), (2, 4)):
        assert (
            gaps(compose(Synthetic(comparisons=200, noise=noise, noise_rate=0.0, responses=responses), 0)) > 0
        ).all()


@pytest.mark.parametrize(
    ("rate", "length_weight"),
    [*(pytest.param(rate, 0.0, marks=pytest.mark.nightly) for rate in (0.05, 0.1)), (0.3, 0.0), (0.1, 1.5)],
)
def test_label_scale_gives_the_rate_on_gaps_that_were_drawn(rate, length_weight):
    """Monte Carlo over composed pairs against the exact distribution that the solver uses."""
    drawn = np.abs(gaps(compose(Synthetic(comparisons=3000, length_weight=length_weight, noise_rate=0.0), 7)))
    expected = 1 / (1 + np.exp(label_scale(rate, length_weight) * drawn))
    assert expected.mean() == pytest.approx(rate, abs=4 * expected.std() / math.sqrt(3000))


def test_bradley_terry_labels_are_calibrated_gap_by_gap(full):
    signed, scale = gaps(full), label_scale(0.1, 0.0)
    by_gap = Counter(np.abs(signed).round(6))
    assert sorted(by_gap) == [0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.4]
    for gap, count in by_gap.items():
        chance = 1 / (1 + math.exp(scale * gap))
        wrong = (signed.round(6) == -gap).sum()
        assert wrong == pytest.approx(count * chance, abs=4.5 * math.sqrt(count * chance * (1 - chance)) + 1)
        assert label_probability(-gap, Synthetic(noise_rate=0.1)) == pytest.approx(chance, rel=1e-9)


def test_threshold_labels_err_alike_on_easy_and_hard_pairs():
    chosen = Synthetic(comparisons=4000, noise="threshold", noise_rate=0.2)
    signed = gaps(compose(chosen, 2))
    for group in (np.abs(signed) < 0.7, np.abs(signed) > 0.9):
        wrong = (signed[group] < 0).mean()
        assert wrong == pytest.approx(0.2, abs=4 * math.sqrt(0.16 / group.sum()))
    assert [label_probability(gap, chosen) for gap in (0.2, -0.2, 2.4, 0.0)] == [0.8, 0.2, 0.8, 0.5]


@pytest.mark.parametrize(("length_weight", "low", "high"), [(0.0, 0.46, 0.54), (1.0, 0.7, 1.0), (-1.0, 0.0, 0.3)])
def test_the_longer_response_wins_only_where_length_has_a_weight(length_weight, low, high):
    pairs = [labelled(c) for c in compose(Synthetic(comparisons=4000, length_weight=length_weight), 1)]
    differences = np.array([len(better.split()) - len(worse.split()) for better, worse in pairs])
    assert low < (differences[differences != 0] > 0).mean() < high


def test_views_share_ids_keys_labels_and_scores(views):
    def kept(comparison):
        scores = [r.score for r in comparison.responses]
        return comparison.id, comparison.prompt_key, comparison.judgments, scores

    for a, b, c in zip(*views.values(), strict=True):
        assert kept(a) == kept(b) == kept(c)


def test_views_hide_what_they_say(views):
    full, prompt, response = views.values()
    assert [c.prompt for c in prompt] == [c.prompt for c in full]
    assert [c.responses for c in response] == [c.responses for c in full]
    assert len({c.prompt for c in response}) == 1
    words = {word for values in ATTRIBUTES.values() for word in values}
    assert not words & set(re.findall(r"\w+", response[0].prompt[0].content))
    for original, hidden in zip(full, prompt, strict=True):
        assert not set(shown(original)[1]) & set(shown(hidden)[1])
    for comparison in (c for view in views.values() for c in view):
        assert len(set(shown(comparison)[1])) == 2


def interaction_features(prompt, response):
    """Which value of each attribute the prompt and the response name, and every combination of the two."""
    rows = []
    for values in ATTRIBUTES.values():
        one_hot = [
            np.array([value in re.findall(r"\w+", text) for value in values], float) for text in (prompt, response)
        ]
        rows += [one_hot[1], np.outer(*one_hot).ravel()]
    return np.concatenate([*rows, [len(response.split()) / 10]])


@pytest.mark.parametrize("view", VIEWS)
def test_only_prompt_and_response_together_tell_the_label(views, view):
    """A linear probe on words and their combinations finds the label in the full text, and chance in the others."""
    differences, labels = [], np.sign(np.random.default_rng(0).random(1500) - 0.5)
    for comparison, sign in zip(views[view], labels, strict=True):
        better, worse = (interaction_features(comparison.prompt[0].content, text) for text in labelled(comparison))
        differences.append(sign * (better - worse))
    x, half = np.array(differences), 750
    weights = np.linalg.lstsq(x[:half], labels[:half], rcond=None)[0]
    accuracy = (np.sign(x[half:] @ weights) == labels[half:]).mean()
    if view == "full":
        assert accuracy > 0.9
    else:
        assert accuracy == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(half))
