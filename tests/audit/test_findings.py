"""Planted faults are found, and nothing else is: against the plan of a file, and against other ways to count."""

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bradley.audit import duplicates
from bradley.audit.agreement import agreement, ceiling
from bradley.audit.audit import Options, audit
from bradley.audit.conflicts import contradictions, cycles
from bradley.audit.hashing import WordHashes
from bradley.audit.languages import script_of
from bradley.audit.linear import PairFeatures, cross_fitted
from bradley.audit.overlap import shared
from bradley.audit.wrong_labels import ranking
from bradley.config import Synthetic
from bradley.data.synthetic import compose
from bradley.evaluate.rewards import auroc
from tests.audit.planted import clean_rows, ids, pair, planted_rows, read, text, turned, write_rows
from tests.data import benchmark_files

PAIRS = ((0, 1), (1, 2), (0, 2))


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    rows, found = planted_rows()
    path = write_rows(tmp_path_factory.mktemp("planted") / "rows.jsonl", rows)
    return audit(read(path), options=Options(top=3)), found


def test_every_planted_fault_is_found_and_nothing_else(planted):
    audited, expected = planted
    assert {name: ids(audited.rows, one.rows) for name, one in audited.findings.items()} == expected
    found = audited.figures["findings"]
    assert found["exact"]["examples"] == [["clean3", "exact1"], ["clean3", "exact2"]]
    assert found["near"]["examples"] == [["clean5", "near"]]
    assert sorted(found["contradictions"]["examples"][0]) == ["clean7", "opposite"]
    assert (found["intransitive"]["triples"], found["contradictions"]["pairs"], found["exact"]["groups"]) == (1, 1, 1)
    # Labels of random words cannot be learned: a model that has seen them would rank nearly all as labelled.
    assert 0.2 < audited.ranking.accuracy["value"] < 0.8


def test_rows_of_a_bucket_are_joined_through_rows_in_between(tmp_path):
    (first,) = clean_rows(1)
    rows = [first]
    for place in (4, 14):
        words = [rows[-1][part].split() for part in ("prompt", "chosen", "rejected")]
        changed = [" ".join([*each[:place], "another", *each[place + 1 :]]) for each in words]
        rows.append(pair(f"step{place}", *changed))
    found = read(write_rows(tmp_path / "rows.jsonl", rows))
    words = WordHashes()
    parts = [duplicates.parts_of(found.pool[number], words) for number in range(3)]
    least = [min(duplicates.jaccard(*each) for each in zip(parts[a], parts[b], strict=True)) for a, b in PAIRS]
    threshold = (min(least[:2]) + least[2]) / 2
    assert least[2] < threshold < min(least[:2])
    signatures = duplicates.Signatures(found, threshold)
    for number in range(3):
        signatures.add(number, found.pool[number], words)
    parent = np.arange(3)
    signatures._join(np.arange(3), parent, words)
    assert [duplicates._root(parent, place) for place in range(3)] == [0, 0, 0]


@settings(max_examples=25)
@given(st.lists(st.permutations(range(5)).map(lambda order: tuple(order[:2])), max_size=12))
def test_cycles_are_those_of_a_count_over_all_triples(tmp_path_factory, edges):
    names = [f"Answer {name}." for name in "abcde"]
    rows = [pair(f"{n}", "Which?", names[a], names[b]) for n, (a, b) in enumerate(edges)]
    rows.append(pair("last", "Another?", "Yes.", "No."))
    read_rows = read(write_rows(tmp_path_factory.mktemp("edges") / "rows.jsonl", rows))
    claims = {edge for edge in edges if edge[::-1] not in edges}
    triples = {
        min((t, t[1:] + t[:1], t[2:] + t[:2]))
        for t in permutations(range(5), 3)
        if {(t[0], t[1]), (t[1], t[2]), (t[2], t[0])} <= claims
    }
    assert cycles(read_rows).facts["triples"] == len(triples)
    both_ways = [f"{n}" for n, edge in enumerate(edges) if edge[::-1] in edges]
    assert ids(read_rows, contradictions(read_rows).rows) == set(both_ways)


def test_near_duplicates_are_those_of_a_count_over_all_pairs(tmp_path):
    rng = np.random.default_rng(2)

    def mutated(words, share):
        return " ".join(text(rng, 1) if rng.random() < share else word for word in words.split())

    rows = clean_rows(12, seed=3)
    for number in range(150):
        row, share = rows[rng.integers(12)], rng.choice([0.01, 0.04, 0.08, 0.2])
        changed = {part: mutated(row[part], share) for part in ("prompt", "chosen", "rejected")}
        rows.append({**changed, "id": f"mutant{number}"})
    # Rows with equal texts are exact duplicates.
    rows = list({tuple(row[part] for part in ("prompt", "chosen", "rejected")): row for row in rows}.values())
    found = read(write_rows(tmp_path / "rows.jsonl", rows))
    words, signatures = WordHashes(), duplicates.Signatures(found, 0.7)
    for number in range(len(found)):
        signatures.add(number, found.pool[number], words)
    got = signatures.finding(words)

    def shingles(words):
        return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}

    parts = [[shingles(row[part].split()) for part in ("prompt", "chosen", "rejected")] for row in rows]
    like = {
        (a, b)
        for a, b in combinations(range(len(rows)), 2)
        if all(len(x & y) / len(x | y) >= 0.7 for x, y in zip(parts[a], parts[b], strict=True))
    }
    head = list(range(len(rows)))
    for a, b in sorted(like):
        low, high = sorted((head[a], head[b]))
        head = [low if each == high else each for each in head]
    expected = {rows[number]["id"] for number in range(len(rows)) if head[number] != number}
    assert 30 < len(expected) < 150
    assert ids(found, got.rows) == expected


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95])
def test_a_pair_at_the_threshold_is_missed_as_rarely_as_stated(threshold):
    band = duplicates.band_size(threshold)
    rng = np.random.default_rng(0)
    equal = rng.random((20_000, duplicates.PERMUTATIONS)) < threshold
    bands = equal[:, : duplicates.PERMUTATIONS // band * band].reshape(len(equal), -1, band)
    missed = 1 - bands.all(axis=2).any(axis=1).mean()
    assert duplicates.missed(threshold, band) == pytest.approx(missed, abs=0.003)
    assert missed < 0.015


def test_equal_rows_of_named_annotators_are_votes_and_give_the_ceiling(tmp_path):
    # Every pair is preferred with probability 0.8: two annotators agree with 0.68, and nobody exceeds 0.8.
    rng = np.random.default_rng(4)
    rows, votes = [], []
    for number, row in enumerate(clean_rows(300, seed=5)):
        first = rng.random(5) < 0.8
        for judge, says in enumerate(first):
            own = {"id": f"{number}-{judge}", "annotator": f"j{judge}"}
            rows.append({**row, **own} if says else turned(row, **own))
        answers = {"response_a": row["chosen"], "response_b": row["rejected"]}
        votes.append({"id": row["id"], "prompt": row["prompt"], **answers, "votes": ["ba"[int(x)] for x in first]})
    named = read(write_rows(tmp_path / "named.jsonl", rows))
    assert not len(duplicates.exact(named).rows)
    found = agreement(named)
    assert (found["pairs"], found["judgments"]) == (300, 1500)
    assert found["agreement"]["low"] < 0.68 < found["agreement"]["high"]
    assert found["ceiling"]["low"] < 0.8 < found["ceiling"]["high"]
    assert agreement(read(write_rows(tmp_path / "votes.jsonl", votes))) == found
    # The second judgment of one annotator is a duplicate.
    again = read(write_rows(tmp_path / "again.jsonl", [*rows, {**rows[0], "id": "again"}]))
    assert ids(again, duplicates.exact(again).rows) == {"again"}
    assert agreement(again)["agreement"] == found["agreement"]


@given(st.floats(0.5, 1.0), st.floats(0.5, 1.0), st.floats(0.0, 1.0))
def test_the_ceiling_is_reached_by_equally_hard_pairs_and_exceeded_by_none(first, second, share):
    agree = [p * p + (1 - p) * (1 - p) for p in (first, second)]
    best = share * first + (1 - share) * second
    assert ceiling(share * agree[0] + (1 - share) * agree[1]) >= best - 1e-9
    assert ceiling(agree[0]) == pytest.approx(first)


def test_prompts_shared_with_data_and_with_a_benchmark(tmp_path):
    rows = clean_rows(30)
    rows[4]["prompt"] = "Ask 2?"
    rows[6]["prompt"] = "ask   5"
    bench = benchmark_files.write(tmp_path / "bench.jsonl", [benchmark_files.rewardbench(n) for n in range(8)])
    other = write_rows(tmp_path / "other.jsonl", [{**rows[8], "id": "x", "chosen": "Yes."}, {**rows[9], "id": "y"}])
    mine = read(write_rows(tmp_path / "rows.jsonl", rows))
    found = shared(mine, [read(f"benchmark:rewardbench={bench}", "bench"), read(other, "other")])
    assert ids(mine, found.rows) == {"clean4", "clean6", "clean8", "clean9"}
    counts = [[one[key] for key in one] for one in found.facts["sets"]]
    assert counts == [["bench", 1, 1, 2, 0, 1], ["other", 2, 2, 2, 1, 2]]


def test_turned_labels_stand_first_in_the_ranking(tmp_path):
    composed = compose(Synthetic(comparisons=1000, noise="threshold", noise_rate=0.0), 0)
    rng = np.random.default_rng(6)
    wrong = rng.random(len(composed)) < 0.05
    rows = []
    for one, flip in zip(composed, wrong, strict=True):
        (judgment,) = one.judgments
        row = pair(one.id, one.prompt[0].content, *(one.responses[k].text for k in (judgment.better, judgment.worse)))
        rows.append(turned(row) if flip else row)
    found = read(write_rows(tmp_path / "rows.jsonl", rows))
    words, features = WordHashes(), PairFeatures()
    for number in range(len(found)):
        features.add(found.pool[number], words)
    features.finish()
    ranked = ranking(found, cross_fitted(features, found.columns.topic, 0), "linear")
    assert auroc(ranked.loss[wrong], ranked.loss[~wrong]) > 0.95
    assert 0.85 < ranked.accuracy["value"] < 0.96
    assert wrong[ranked.worst(0.05).rows].mean() > 0.5


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Hello, world", "Latin"),
        ("12 + 3 = 15 !?", "none"),
        ("", "none"),
        ("Привет, world of мой дом", "Cyrillic"),
        ("微积分是数学", "Han"),
        ("日本語のテキストです", "Japanese"),
        ("안녕하세요", "Korean"),
        ("مرحبا بالعالم", "Arabic"),
        ("héllo ｗｏｒｌｄ", "Latin"),
        ("नमस्ते", "Devanagari"),
    ],
)
def test_the_script_of_most_letters(text, script):
    assert script_of(text) == script
