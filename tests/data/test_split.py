"""Splits and samples: whose side a prompt is on is its own affair."""

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.config import Data
from bradley.data import split as splitting
from bradley.data.load import load_splits
from bradley.data.split import cap_per_prompt, mix
from bradley.data.table import select
from bradley.errors import DataError, UserError
from bradley.records import Comparison, Judgment, Message, Response, prompt_key
from tests.helpers import comparisons

ROWS = comparisons(2000)
SHARES = {"valid": 0.1, "train": 0.7, "test": 0.2}


def split_by_prompt(rows, shares, seed):
    return {name: list(part) for name, part in splitting.split_by_prompt(select(rows), shares, seed).items()}


def sample(rows, limit, seed, name):
    kept, composition = splitting.sample(select(rows), limit, seed, name)
    return list(kept), composition


def sides(rows, shares=SHARES, seed=0):
    return {c.id: name for name, part in split_by_prompt(rows, shares, seed).items() for c in part}


EVERYONE = sides(ROWS)


def test_shares_are_those_of_the_prompts():
    parts = split_by_prompt(ROWS, SHARES, 0)
    assert list(parts) == list(SHARES) and sum(map(len, parts.values())) == len(ROWS)
    for name, share in SHARES.items():
        sigma = math.sqrt(len(ROWS) * share * (1 - share))
        assert abs(len(parts[name]) - share * len(ROWS)) < 4 * sigma
    assert all([c.id for c in part] == [c.id for c in ROWS if c in part] for part in parts.values())


@given(st.permutations(range(40)), st.integers(1, 40))
def test_the_side_of_a_prompt_does_not_depend_on_other_rows(order, count):
    some = [ROWS[i] for i in order[:count]]
    assert sides(some) == {c.id: EVERYONE[c.id] for c in some}


def test_rows_of_one_prompt_stay_together():
    answers = [other.responses for other in ROWS[:3]]
    shared = [replace(c, id=f"{c.id}.{k}", responses=answers[k]) for c in ROWS[:60] for k in range(3)]
    by_prompt: dict[str, set[str]] = {}
    for name, part in split_by_prompt(shared, SHARES, 0).items():
        for c in part:
            by_prompt.setdefault(c.prompt_key, set()).add(name)
    assert len(by_prompt) == 60 and all(len(names) == 1 for names in by_prompt.values())


def test_comparisons_without_a_prompt_are_dealt_by_their_responses():
    nothing = (Message("user", " "),)
    bare = [replace(c, prompt=nothing, prompt_key=prompt_key(nothing)) for c in ROWS[:200]]
    counts = Counter(sides(bare).values())
    assert set(counts) == set(SHARES) and sides(bare) == sides([c.swap() for c in bare])


def test_another_seed_deals_anew_and_a_larger_test_part_leaves_valid_alone():
    assert sides(ROWS) != sides(ROWS, seed=1) and sides(ROWS) == sides(ROWS)
    larger = sides(ROWS, {"valid": 0.1, "train": 0.4, "test": 0.5})
    assert all((larger[row] == "valid") == (side == "valid") for row, side in sides(ROWS).items())


def test_shares_that_do_not_add_up():
    for shares in ({"valid": 0.6, "train": -0.1, "test": 0.5}, {"valid": 0.5, "train": 0.1}):
        with pytest.raises(UserError, match="add up to 1"):
            split_by_prompt(ROWS, shares, 0)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(0, 200), st.integers(0, 5))
def test_a_sample_keeps_order_size_and_proportions(sizes, limit, seed):
    rows = [replace(ROWS[i * 40 + k], source=f"s{i}") for i, size in enumerate(sizes) for k in range(size)]
    rows = rows[::2] + rows[1::2]
    kept, composition = sample(rows, limit, seed, "train")
    assert len(kept) == composition["kept"] == min(limit or len(rows), len(rows)) and composition["of"] == len(rows)
    assert kept == [c for c in rows if c in kept] and kept == sample(rows, limit, seed, "train")[0]
    counts = Counter(c.source for c in kept)
    for i, size in enumerate(sizes):
        assert composition["sources"][f"s{i}"] == {"of": size, "kept": counts[f"s{i}"]}
        assert abs(counts[f"s{i}"] - size * len(kept) / len(rows)) < 1


def test_a_sample_is_no_head_and_its_name_matters():
    first, _ = sample(ROWS, 100, 0, "train")
    other, _ = sample(ROWS, 100, 0, "valid")
    assert first != other and first != ROWS[:100] and sample([], 5, 0, "train")[0] == []
    mean = sum(int(c.id[1:]) for c in first) / 100
    assert abs(mean - 999.5) < 4 * 2000 / math.sqrt(12 * 100)
    assert {c.id for c in first} <= {c.id for c in sample(ROWS, 300, 0, "train")[0]}


def test_a_cap_per_prompt_keeps_a_seeded_choice_in_order():
    rows = [replace(ROWS[i // 5], id=f"c{i}", responses=ROWS[i].responses) for i in range(60)]
    capped = list(cap_per_prompt(select(rows), 2, 0))
    assert Counter(c.prompt_key for c in capped) == dict.fromkeys({c.prompt_key for c in rows}, 2)
    assert capped == [c for c in rows if c in capped] and capped != [c for i, c in enumerate(rows) if i % 5 < 2]
    assert capped != list(cap_per_prompt(select(rows), 2, 1))
    assert {c.id for c in capped} < {c.id for c in cap_per_prompt(select(rows), 3, 0)}


@given(st.permutations(range(20)))
def test_who_stays_under_a_cap_depends_on_no_other_prompt(order):
    rows = [replace(ROWS[i // 5], id=f"c{i}", responses=ROWS[i].responses) for i in range(20)]
    everyone = {c.id for c in cap_per_prompt(select(rows), 2, 0)}
    assert {c.id for c in cap_per_prompt(select([rows[i] for i in order]), 2, 0)} == everyone
    assert {c.id for c in cap_per_prompt(select(rows[5:]), 2, 0)} == {i for i in everyone if int(i[1:]) >= 5}


def parts(sizes):
    from bradley.data.table import ComparisonTable, everything

    pool, rows = ComparisonTable(), iter(ROWS)
    for part, size in enumerate(sizes):
        for _ in range(size):
            pool.add(next(rows), part)
    return everything(pool)


def test_a_mixture_takes_shares_and_numbers_of_its_parts():
    rows = parts([100, 50, 30])
    mixed, account = mix(rows, ["a", "b", "c"], {"a": 0.25, "b": 20}, 0)
    assert account == {"a": {"of": 100, "kept": 25}, "b": {"of": 50, "kept": 20}, "c": {"of": 30, "kept": 30}}
    ids = [int(c.id[1:]) for c in mixed]
    assert ids == sorted(ids) and ids[:25] != list(range(25)) and ids[-30:] == list(range(150, 180))
    assert mixed == mix(rows, ["a", "b", "c"], {"a": 0.25, "b": 20}, 0)[0]
    assert mixed != mix(rows, ["a", "b", "c"], {"a": 0.25, "b": 20}, 1)[0]
    assert mix(rows, ["a", "b", "c"], {}, 0)[0] == rows


def test_a_mixture_asks_for_no_more_than_there_is():
    with pytest.raises(DataError, match="asks for 51 comparisons of b, which has 50") as caught:
        mix(parts([10, 50]), ["a", "b"], {"b": 51}, 0)
    assert "at most 50" in caught.value.hint


@pytest.mark.parametrize("share", [0.05, 0.999])
def test_one_prompt_in_all_rows_is_told_without_a_share_that_cannot_help(share):
    """All comparisons of a prompt lie on one side, so either side may be the empty one."""
    train = [{"prompt": "the same", "chosen": f"yes {n}", "rejected": "no"} for n in range(30)]
    with pytest.raises(DataError, match="is empty: the training data have a single prompt") as caught:
        load_splits(Data(valid_share=share), 0, train=train)
    assert "raise" not in caught.value.hint and "--data.valid_share 0" in caught.value.hint
    assert len(load_splits(Data(valid_share=0.0), 0, train=train).train) == 30


def asked(question, number, absent, system=""):
    """A pair whose question stands in the prompt, or in both responses behind an absent prompt."""
    prompt = (*([Message("system", system)] if system else []), Message("user", question))
    sides = [(Message("assistant", f"{side} {number}"),) for side in ("good", "bad")]
    if absent is not None:
        prompt, sides = absent, [(*prompt, *side) for side in sides]
    responses = tuple(Response(side) for side in sides)
    return Comparison(f"{number}", prompt_key(prompt), prompt, responses, (Judgment(0, 1),))


ABSENT = [None, (), (Message("user", ""),), (Message("text", " \n"),)]


@given(
    st.lists(st.tuples(st.sampled_from("abcdefghij"), st.sampled_from(ABSENT)), min_size=2, max_size=40),
    st.sampled_from(["", "Be brief."]),
)
def test_an_absent_prompt_never_leaks_a_question_through_a_split(made, system):
    """The side of a question is the same whether the prompt holds the question or both responses do."""
    rows = [asked(question, n, absent, system) for n, (question, absent) in enumerate(made)]
    by_question: dict[str, set[str]] = {}
    for name, part in split_by_prompt(rows, SHARES, 0).items():
        for c in part:
            by_question.setdefault(made[int(c.id)][0], set()).add(name)
    assert all(len(names) == 1 for names in by_question.values())
    plain = [asked(question, n, None, system) for n, (question, _) in enumerate(made)]
    assert sides(rows) == sides(plain)


def test_comparisons_without_a_prompt_are_not_one_prompt():
    system = (Message("system", "Be brief."),)
    for prompt in ((), (Message("text", ""),), system):
        rows = [replace(c, prompt=prompt, prompt_key=prompt_key(prompt)) for c in ROWS[:300]]
        counts = {name: len(part) for name, part in split_by_prompt(rows, SHARES, 0).items()}
        assert all(0.5 * SHARES[name] * 300 < count for name, count in counts.items())


def test_questions_behind_an_empty_list_as_prompt_stay_on_their_side():
    rows = [
        {
            "prompt": [],
            **{
                side: [{"role": "user", "content": f"q{n % 50}"}, {"role": "assistant", "content": f"{side} {n}"}]
                for side in ("chosen", "rejected")
            },
        }
        for n in range(200)
    ]
    splits = load_splits(Data(valid_share=0.2), 0, train=rows)
    train, valid = (
        {c.prompt[0].content if c.prompt else c.responses[0].messages[0].content for c in part}
        for part in (splits.train, splits.evals["valid"])
    )
    assert train | valid == {f"q{n}" for n in range(50)} and not train & valid
    assert sum(split["prompts"] for split in splits.report["splits"].values()) == 50
