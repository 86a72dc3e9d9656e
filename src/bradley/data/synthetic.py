"""Compose preferences with a known true reward and known label noise, in plain English.

A prompt asks for a story about a coloured animal near a place. A response names a colour, an animal and a place, and
adds zero to three neutral sentences. Each attribute is as requested with probability 1/2, and otherwise the
alternative. The true reward of a response measures how much of the request is honoured. Neither text alone says
anything about the label: prompts ask for every value equally often, responses name every value equally often, and
length is drawn independently.

The true reward can be recomputed from the texts (`true_reward`) and is kept as `Response.score`. The probability of
every label follows from the true rewards (`label_probability`). A scorer knowing the true reward is right on `1 -
noise_rate` of the judgments in expectation. The exact value of this ceiling is the accuracy of the scores on the
labels.
"""

import math
import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations, product
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..common.seeds import generator
from ..config import Synthetic
from ..records import Comparison, Judgment, Message, Response, prompt_key

Item = TypeVar("Item")


ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "animal": ("fox", "bear"),
    "place": ("harbour", "forest"),
    "colour": ("red", "blue"),
}
"""Attributes requested by a prompt and named by a response; these words occur nowhere else in the grammar.

With two values each, a model of 2M parameters learns the match from 4,000 comparisons in minutes on a laptop. With
three values, training reaches the ceiling for some seeds and stops half-way for others."""

WORTH = {"animal": 1.0, "place": 0.8, "colour": 0.6}
"""True reward of honouring an attribute. No two sets of attributes have the same sum."""

MOST_EXTRA = 3
"""Most sentences after the first; each number from 0 to `MOST_EXTRA` is equally likely."""
EXTRA_MEAN = MOST_EXTRA / 2
EXTRA_SD = math.sqrt(MOST_EXTRA * (MOST_EXTRA + 2) / 12)

ONE_PROMPT = "Please tell us a story that we have not heard before, about anything you like."
"""Prompt of every comparison in the view `response`."""


class Draft(NamedTuple):
    """Texts of a comparison, with the true reward of each response."""

    prompt: str
    responses: list[str]
    rewards: list[float]


def compose(settings: Synthetic, seed: int) -> list[Comparison]:
    """Draw comparisons with K = `settings.responses` responses each.

    The first n comparisons do not depend on the total number. Every two responses with different true rewards are
    judged once. Each judgment errs independently; labels of K > 2 responses need not form a ranking. `Response.score`
    is the true reward of the full text in every view. Ids, prompt keys and labels are the same in the three views of a
    seed.
    """
    # Texts, unrelated texts and labels have streams of their own, so that a view changes the texts and no label.
    drafts, unrelated = (_drafts(settings, seed, purpose) for purpose in ("texts", "unrelated"))
    labels = generator(seed, "synthetic", "labels")
    return [
        _comparison(f"synthetic-{index:06d}", next(drafts), unrelated, labels, settings)
        for index in range(settings.comparisons)
    ]


def true_reward(prompt_text: str, response_text: str, length_weight: float) -> float:
    """Compute the true reward of a response from the two texts alone.

        sum of WORTH[a] over the attributes a with the same value in both texts
        + length_weight * (n - EXTRA_MEAN) / EXTRA_SD

    n is the number of sentences of the response after the first. The length term has mean 0 and standard deviation 1.
    The sum is rounded to 6 decimals, to make equal sums equal numbers.
    """
    common = _words(prompt_text) & _words(response_text)
    honoured = sum(WORTH[name] for name, values in ATTRIBUTES.items() if common.intersection(values))
    extra = len(re.findall(r"[.!?]", response_text)) - 1
    return round(honoured + length_weight * (extra - EXTRA_MEAN) / EXTRA_SD, 6)


def label_probability(gap: float, settings: Synthetic) -> float:
    """Compute P(a is labelled better than b) from `gap`, the true reward of a minus the true reward of b.

    `bradley_terry`: sigmoid(label_scale * gap) (Bradley & Terry 1952). `threshold`: 1 - noise_rate for a positive gap,
    noise_rate for a negative gap. Equal rewards: 0.5.
    """
    if gap == 0:
        return 0.5
    # Without noise the Bradley-Terry scale is infinite, and its limit is the threshold.
    if settings.noise == "threshold" or settings.noise_rate == 0:
        return 1 - settings.noise_rate if gap > 0 else settings.noise_rate
    return 1 / (1 + math.exp(-label_scale(settings.noise_rate, settings.length_weight) * gap))


@cache
def label_scale(noise_rate: float, length_weight: float) -> float:
    """Solve for the factor from true rewards to Bradley-Terry scores with an expected share `noise_rate` of wrong
    labels.

    The equation is mean of sigmoid(-factor * gap) = noise_rate, over the exact distribution of positive reward
    differences between two responses. The factor is infinite for `noise_rate = 0`. A perfectly trained model scores
    factor * reward, up to a constant per prompt.
    """
    from scipy.optimize import brentq
    from scipy.special import expit

    if noise_rate == 0:
        return math.inf
    gaps = _gaps(length_weight)
    # The root lies below this bound, because sigmoid(-x) < exp(-x).
    enough = -math.log(noise_rate) / gaps.min()
    return float(brentq(lambda scale: expit(-scale * gaps).mean() - noise_rate, 0.0, enough, xtol=1e-12))


def _gaps(length_weight: float) -> NDArray[np.float64]:
    """List the positive differences of two true rewards, each in proportion to probability: subsets and lengths are
    uniform.
    """
    honoured = [sum(worths) for worths in product(*((0.0, worth) for worth in WORTH.values()))]
    extras = (np.arange(MOST_EXTRA + 1) - EXTRA_MEAN) / EXTRA_SD
    # Rounded like `true_reward`: a gap of zero must be zero, or ties would count as tiny preferences.
    rewards = np.add.outer(np.array(honoured), length_weight * extras).ravel().round(6)
    gaps = np.abs(np.subtract.outer(rewards, rewards)).round(6)
    return np.asarray(gaps[gaps > 0])


def _words(text: str) -> set[str]:
    """Return the different words of a text in lower case."""
    return set(re.findall(r"[a-z]+", text.lower()))


def _drafts(settings: Synthetic, seed: int, purpose: str) -> Iterator[Draft]:
    """Iterate over drafts without end, each with at least two different rewards."""
    rng = generator(seed, "synthetic", purpose)
    while True:
        asked = {name: _pick(rng, values) for name, values in ATTRIBUTES.items()}
        prompt = _prompt(rng, asked)
        rewards: list[float] = []
        # A comparison of equal rewards has no judgment, and a record without a judgment is not allowed.
        while len(set(rewards)) < 2:
            responses = [_response(rng, asked) for _ in range(settings.responses)]
            rewards = [true_reward(prompt, response, settings.length_weight) for response in responses]
        yield Draft(prompt, responses, rewards)


def _prompt(rng: np.random.Generator, asked: dict[str, str]) -> str:
    """Draw a prompt asking for these attributes."""
    ask, end = _pick(rng, ASKS)
    listener, kind, genre, where = (_pick(rng, table) for table in (LISTENERS, KINDS, GENRES, WHERE))
    about = f"about a {asked['colour']} {asked['animal']} {where} the {asked['place']}"
    return f"{ask} {listener} {kind} {genre} {about}{end}"


def _response(rng: np.random.Generator, asked: dict[str, str]) -> str:
    """Draw an opening, honouring each attribute with probability 1/2, and neutral sentences."""
    named = {name: asked[name] if rng.random() < 0.5 else _pick(rng, _others(name, asked[name])) for name in asked}
    opening = _pick(rng, OPENINGS).format(where=_pick(rng, WHERE), **named)
    extra = int(rng.integers(MOST_EXTRA + 1))
    return " ".join([opening, *(_neutral_sentence(rng) for _ in range(extra))])


def _neutral_sentence(rng: np.random.Generator) -> str:
    """Draw a sentence without any attribute."""
    return f"{_pick(rng, SUBJECTS)} {_pick(rng, VERBS)} {_pick(rng, TIMES)}."


def _others(name: str, value: str) -> list[str]:
    """Return the values of an attribute other than `value`."""
    return [other for other in ATTRIBUTES[name] if other != value]


def _pick(rng: np.random.Generator, options: Sequence[Item]) -> Item:
    """Draw an option uniformly."""
    # Several times faster than `rng.choice` or `rng.integers`.
    return options[int(rng.random() * len(options))]


def _comparison(
    name: str, draft: Draft, unrelated: Iterator[Draft], labels: np.random.Generator, settings: Synthetic
) -> Comparison:
    """Build the comparison of a draft in the view of the settings, with labels and prompt key of the full text."""
    shown = next(unrelated).responses if settings.view == "prompt" else draft.responses
    prompt = _turn("user", ONE_PROMPT if settings.view == "response" else draft.prompt)
    return Comparison(
        id=name,
        prompt_key=prompt_key(_turn("user", draft.prompt)),
        prompt=prompt,
        responses=tuple(Response(_turn("assistant", t), r) for t, r in zip(shown, draft.rewards, strict=True)),
        judgments=_judgments(draft.rewards, labels, settings),
        source="synthetic",
    )


def _turn(role: str, text: str) -> tuple[Message, ...]:
    """Build a conversation of a single turn."""
    return (Message(role, text),)


def _judgments(rewards: list[float], labels: np.random.Generator, settings: Synthetic) -> tuple[Judgment, ...]:
    """Draw a label for every two responses with different true rewards."""
    pairs = [(a, b) for a, b in combinations(range(len(rewards)), 2) if rewards[a] != rewards[b]]
    chances = [label_probability(rewards[a] - rewards[b], settings) for a, b in pairs]
    return tuple(
        Judgment(a, b) if labels.random() < chance else Judgment(b, a)
        for (a, b), chance in zip(pairs, chances, strict=True)
    )


def _table(text: str) -> tuple[str, ...]:
    """Split a list of words or phrases."""
    return tuple(text.split("|"))


ASKS = (
    ("Please tell", "."),
    ("Please write", "."),
    ("Could you tell", "?"),
    ("Could you please write", "?"),
    ("Can you read", "?"),
    ("Would you write", "?"),
    ("I want you to tell", "."),
    ("We would like you to read", "."),
)
LISTENERS = _table(
    "me|us|my daughter|my son|my sister|my brother|my cousin|my uncle|my aunt|my mother|my father|my grandmother|"
    "my neighbour|the twins|the class|the new teacher|the little ones|our guests|our family|our team|"
    "an old friend|a young reader|a tired nurse|a shy pupil|a busy parent|the whole village"
)
KINDS = _table("a short|a long|a funny|a gentle|a simple|a strange|a true|a clever|a quiet|a merry|a sad|a brave")
GENRES = _table("story|tale|fable|legend|riddle|joke|poem|rhyme")
WHERE = _table("near|beside|behind|by|outside|close to")
OPENINGS = (
    "Once there was a {colour} {animal} who lived {where} the {place}.",
    "Long ago a {colour} {animal} made a home {where} the {place}.",
    "One morning a {colour} {animal} woke up {where} the {place}.",
    "This is about a {colour} {animal} that people met {where} the {place}.",
    "Listen, there is a {colour} {animal} waiting {where} the {place}.",
    "They say that a {colour} {animal} was born {where} the {place}.",
    "Last winter a {colour} {animal} got lost {where} the {place}.",
    "Nobody had seen a {colour} {animal} {where} the {place} until that day.",
)
SUBJECTS = _table(
    "The wind|The rain|The baker|The moon|The postman|The river|The doctor|The sailor|The mayor|The old clock|"
    "The children|Everyone|Nobody|Somebody|A stranger|A small bird|A farmer|Two travellers|Three boys|The music"
)
VERBS = _table(
    "sang softly|slept well|laughed aloud|waited|came back|walked home|turned around|said nothing|stood still|"
    "danced slowly|went quiet|stayed inside|looked up|moved on|made a noise|began again|took a rest|felt warm|"
    "told the truth|asked for more"
)
TIMES = _table(
    "all day|that evening|until dinner|at noon|once more|as always|for an hour|on Sunday|in the dark|after that|"
    "every spring|for years"
)
