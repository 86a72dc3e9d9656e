"""Normalised scores: in units of one named reference set, whatever is scored later and in what batches."""

import dataclasses
import statistics

import numpy as np
import pytest

from bradley.config import Render
from bradley.data.render import Renderer
from bradley.errors import CheckpointError
from bradley.model.folder.normalization import Normalization, measure, store_hash
from bradley.model.folder.save_load import add_normalization, load_model, save_model
from bradley.records import Judgment
from bradley.scoring.core import score_store
from bradley.scoring.reward_model import score_comparisons
from tests.helpers import LLAMA, comparisons, store_for, tiny_model, tokenizer_for

pytestmark = pytest.mark.transformers

REFERENCE = [*comparisons(6, seed=2), *comparisons(2, responses=4, seed=3)]
OTHERS = comparisons(5, seed=9)
TOKENIZER = tokenizer_for(REFERENCE)
STORE = store_for(REFERENCE, TOKENIZER, training=False)


@pytest.fixture
def folder(tmp_path):
    model = tiny_model(LLAMA, TOKENIZER)
    save_model(tmp_path / "m", model, Renderer(TOKENIZER, Render(max_tokens=512), causal=True), {})
    add_normalization(tmp_path / "m", measure("valid", STORE, score_store(model, STORE, 4096)))
    return tmp_path / "m"


def flat(rows):
    return [score for row in rows for score in row.scores]


def test_the_reference_set_itself_has_mean_zero_and_deviation_one(folder):
    scores = flat(score_comparisons(folder, REFERENCE, normalize=True))
    assert len(scores) == 6 * 2 + 2 * 4 == load_model(folder).normalization.n
    assert statistics.fmean(scores) == pytest.approx(0, abs=1e-5)
    assert statistics.pstdev(scores) == pytest.approx(1, abs=1e-5)


def test_other_rows_are_measured_in_the_same_unit_and_plain_scores_stay(folder):
    plain = flat(score_comparisons(folder, REFERENCE))
    mean, std = statistics.fmean(plain), statistics.pstdev(plain)
    before = (folder / "bradley.json").read_bytes()
    for rows in (OTHERS, OTHERS[:1]):
        expected = [(score - mean) / std for score in flat(score_comparisons(folder, rows))]
        np.testing.assert_allclose(flat(score_comparisons(folder, rows, normalize=True)), expected, atol=1e-5)
        loaded = load_model(folder)
        np.testing.assert_allclose(flat(score_comparisons(loaded, rows, normalize=True)), expected, atol=1e-5)
    assert (folder / "bradley.json").read_bytes() == before


def test_the_unit_does_not_depend_on_batches_or_judgments():
    model = tiny_model(LLAMA, TOKENIZER)
    known = [measure("valid", STORE, score_store(model, STORE, budget)) for budget in (150, 600, 10**6)]
    twice = [dataclasses.replace(row, judgments=(*row.judgments, Judgment(1, 0))) for row in REFERENCE]
    judged = store_for(twice, TOKENIZER, training=False)
    known.append(measure("valid", judged, score_store(model, judged, 600)))
    for one in known[1:]:
        assert one[:3] == known[0][:3]
        np.testing.assert_allclose(one[3:], known[0][3:], atol=1e-6)


def test_the_hash_names_rows_and_tokens():
    assert store_hash(STORE) == store_hash(store_for(REFERENCE, TOKENIZER, training=False))
    renamed = [dataclasses.replace(REFERENCE[0], id="other"), *REFERENCE[1:]]
    others = [REFERENCE[::-1], REFERENCE[:-1], renamed, [REFERENCE[0].swap(), *REFERENCE[1:]]]
    hashes = {store_hash(store_for(rows, TOKENIZER, training=False)) for rows in (REFERENCE, *others)}
    hashes.add(store_hash(store_for(REFERENCE, TOKENIZER, training=False, template="raw")))
    assert len(hashes) == 6


def test_asking_for_a_unit_that_is_not_there_is_an_error(tmp_path):
    model = tiny_model(LLAMA, TOKENIZER)
    save_model(tmp_path / "m", model, Renderer(TOKENIZER, Render(max_tokens=512), causal=True), {})
    with pytest.raises(CheckpointError, match="has no normalization") as caught:
        score_comparisons(tmp_path / "m", OTHERS, normalize=True)
    assert caught.value.hint == "leave normalize off, or train with data.valid"
    assert flat(score_comparisons(tmp_path / "m", OTHERS))


@pytest.mark.parametrize("std", [0.0, float("nan")])
def test_scores_without_spread_have_no_unit(std):
    with pytest.raises(CheckpointError, match="have the standard deviation"):
        Normalization("valid", 3, "", 1.0, std).apply([])
