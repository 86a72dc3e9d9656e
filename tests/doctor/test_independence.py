"""Probes of scoring, and of a saved copy, on sound models and on planted faults."""

import pytest
import torch
from torch import nn

from bradley.config import Render
from bradley.data.render import Renderer
from bradley.doctor.independence import scored_twice, without_company
from bradley.doctor.readback import as_recorded, saved_and_loaded, verified
from bradley.model.folder.tolerance import Check
from bradley.scoring.core import score_store
from tests.helpers import BERT, LLAMA, comparisons, store_for, tiny_model, tokenizer_for

pytestmark = pytest.mark.transformers
ROWS = [*comparisons(8), *comparisons(3, responses=3, seed=3, first=100)]
TOKENIZER = tokenizer_for(ROWS)
RENDERER = Renderer(TOKENIZER, Render(max_tokens=200), causal=True)


@pytest.mark.parametrize("config", [LLAMA, BERT], ids=lambda config: config["model_type"])
def test_a_sound_model_passes_each_probe_of_scoring(config) -> None:
    model = tiny_model(config, TOKENIZER)
    renderer = Renderer(TOKENIZER, Render(max_tokens=200), causal=model.causal)
    engine = model.engine
    for probe in (scored_twice, without_company, saved_and_loaded):
        found = probe(model, renderer, ROWS)
        assert (found.verdict, found.n) == ("pass", len(ROWS)), found
    assert model.engine == engine


def test_dropout_left_on_fails() -> None:
    model = tiny_model(LLAMA, TOKENIZER)
    model.network.base_model.register_forward_hook(
        lambda _m, _i, out: out.__class__(last_hidden_state=nn.functional.dropout(out.last_hidden_state, 0.1))
    )
    found = scored_twice(model, RENDERER, ROWS)
    assert found.verdict == "fail" and "dropout" in found.cause


def test_a_score_with_a_share_of_its_company_fails(monkeypatch) -> None:
    model = tiny_model(LLAMA, TOKENIZER)
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda batch: (scores := forward(batch)) + 0.1 * scores.mean())
    assert scored_twice(model, RENDERER, ROWS).verdict == "pass"
    found = without_company(model, RENDERER, ROWS)
    assert found.verdict == "fail" and "largest difference" in found.measured


def test_a_copy_with_other_scores_fails(monkeypatch) -> None:
    model = tiny_model(LLAMA, TOKENIZER)
    # A weight outside the network, as of a wrapper of somebody: no file holds it.
    outside, forward = torch.tensor(1.5), model.forward
    monkeypatch.setattr(model, "forward", lambda batch: outside * forward(batch))
    assert saved_and_loaded(model, RENDERER, ROWS).verdict == "fail"


def test_checks_of_verify_and_scores_of_a_run() -> None:
    assert verified([Check("a", 0.0, 0.0), Check("b", 1e-6, 1e-5)]).verdict == "pass"
    failed = verified([Check("a", 0.0, 0.0), Check("b", 1e-4, 1e-5)])
    assert failed.verdict == "fail" and failed.measured == "failed: b"
    model = tiny_model(LLAMA, TOKENIZER)
    now = score_store(model, store_for(ROWS, TOKENIZER, training=False), 0)
    assert as_recorded(now, now, model).verdict == "pass"
    raw = score_store(model, store_for(ROWS, TOKENIZER, training=False, template="raw"), 0)
    assert as_recorded(now, raw, model).verdict == "fail"
    assert as_recorded(now, [], model).verdict == "undecided"
