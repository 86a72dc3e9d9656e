"""One conversation has one score, whatever lies beside it: padding, batch, shared prefix, library, and bf16 grids."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from bradley.config import Model, Render
from bradley.data.render import Renderer
from bradley.data.token_store import build_store
from bradley.data.tokenizer import make_tokenizer, train_tokenizer
from bradley.model.build import build_model
from bradley.model.engine.batch import collate
from bradley.model.folder.parity import batch_of, score_ids
from bradley.model.folder.save_load import load_model, save_model
from bradley.records import Comparison, Message
from bradley.scoring.core import score_store
from bradley.scoring.reward_model import score_comparisons
from bradley.verify.plain import needs_positions, plain_scores
from tests.helpers import BERT, GPT2, LLAMA, QWEN, comparisons, tiny_model, tokenizer_for

pytestmark = pytest.mark.transformers

TURNS = (Message("user", "one"), Message("assistant", "two two"), Message("user", "three"))
ROWS = [
    Comparison(f"m{i}", f"k{i}", (*TURNS, *row.prompt), row.responses, row.judgments)
    for i, row in enumerate(comparisons(8))
]
END = "<|end|>"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A base model whose pad token is its end token, as those of Llama's and GPT-2's kind are published."""
    folder = tmp_path_factory.mktemp("base")

    def write(config):
        path = folder / config["model_type"]
        if not path.exists():
            tokenizer = tokenizer_for(ROWS)
            tokenizer.pad_token = END
            assert tokenizer.pad_token_id == tokenizer.eos_token_id
            tiny_model(config, tokenizer).network.save_pretrained(path)
            tokenizer.save_pretrained(path)
        return path

    return write


@pytest.mark.parametrize(
    "config", [LLAMA, pytest.param(QWEN, marks=pytest.mark.nightly), GPT2], ids=lambda c: c["model_type"]
)
@pytest.mark.parametrize("engine", ["plain", "segments"])
def test_pad_that_is_end_changes_no_score(tmp_path, base, config, engine):
    settings = Model(path=str(base(config)), engine=engine)
    tokenizer = make_tokenizer(settings, ROWS)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id  # chosen at the start of training
    model = build_model(settings, tokenizer, 0, torch.device("cpu")).model
    renderer = Renderer(tokenizer, Render(max_tokens=300), causal=True)
    store = build_store(ROWS, renderer, training=False)
    ids = [store.response_ids(place, k).tolist() for place in range(len(ROWS)) for k in range(2)]
    assert all(row.count(tokenizer.eos_token_id) > 2 for row in ids)
    alone = [score_ids(model, [row])[0] for row in ids]
    assert np.ptp(alone) > 1e-2
    for size in (2, 3, 8, 16):
        together = [s for start in range(0, 16, size) for s in score_ids(model, ids[start : start + size])]
        np.testing.assert_allclose(together, alone, atol=3e-6)
    shared = [score for row in score_store(model, store, 0) for score in row.scores]  # each prompt once
    np.testing.assert_allclose(shared, alone, atol=3e-6)

    save_model(tmp_path / "m", model, renderer, {})
    again = [score for row in score_comparisons(tmp_path / "m", ROWS) for score in row.scores]
    np.testing.assert_allclose(again, alone, atol=3e-6)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "m").eval()
    theirs = AutoTokenizer.from_pretrained(tmp_path / "m")
    assert needs_positions(plain) == (config is GPT2)
    for side in ("right", "left"):
        positions = side == "left" and needs_positions(plain)
        for size in (1, 5, 16):
            np.testing.assert_allclose(plain_scores(plain, theirs, ids, size, side, positions), alone, atol=3e-6)


def test_without_position_ids_a_model_with_a_table_of_positions_scores_otherwise_on_the_left(tmp_path, base):
    """What the position ids are for: the trap itself."""
    plain = AutoModelForSequenceClassification.from_pretrained(base(GPT2)).eval()
    theirs = AutoTokenizer.from_pretrained(base(GPT2))
    theirs.pad_token = "<|pad|>"
    plain.config.pad_token_id = theirs.pad_token_id
    rows = [[7, 8, 9, 10], list(range(7, 40))]
    straight = plain_scores(plain, theirs, rows, 2, "right")
    np.testing.assert_allclose(plain_scores(plain, theirs, rows, 2, "left", positions=True), straight, atol=3e-6)
    assert abs(plain_scores(plain, theirs, rows, 2, "left")[0] - straight[0]) > 1e-3


def test_encoders_score_alike_in_any_batch():
    tokenizer = train_tokenizer(["a few words"], 300)
    model = tiny_model(BERT, tokenizer)
    rows = [[5, 6, 7], [8, 9, 10, 11, 12, 13], [7] * 40]
    alone = [score_ids(model, [row])[0] for row in rows]
    np.testing.assert_allclose(score_ids(model, rows), alone, atol=3e-6)


def test_scores_near_seven_are_not_on_the_grid_of_bfloat16(tmp_path):
    """A head that gives 7 and 7.001 to two conversations: bfloat16 numbers near 7 are 1/32 apart."""
    tokenizer = tokenizer_for(ROWS)
    model = tiny_model(LLAMA, tokenizer, precision="bfloat16").eval()
    rows = [[7, 8, 9, 10, 11], [7, 8, 12, 13, 14, 15]]
    hidden = []
    hook = model.network.base_model.register_forward_hook(lambda _m, _i, out: hidden.append(out.last_hidden_state))
    batch = batch_of(rows)
    with torch.no_grad():
        model(batch)
    hook.remove()
    assert model.engine == "segments"
    pooled = hidden[0][0, batch.last].double()
    wanted = torch.tensor([7.0, 7.001], dtype=torch.float64)
    with torch.no_grad():
        model.network.score.weight.copy_((torch.linalg.pinv(pooled) @ wanted)[None])
    assert len(set(wanted.bfloat16().tolist())) == 1  # on the grid they would be one
    scores = score_ids(model, rows)
    np.testing.assert_allclose(scores, wanted, atol=2e-5)
    assert scores[1] - scores[0] == pytest.approx(0.001, abs=2e-5)

    save_model(tmp_path / "m", model, Renderer(tokenizer, Render(max_tokens=300), causal=True), {})
    loaded = load_model(tmp_path / "m").model
    assert loaded.compute == torch.bfloat16 and score_ids(loaded, rows) == scores
    loaded.use("plain")
    plain = score_ids(loaded, rows)
    assert plain[1] not in np.arange(-8, 8, 1 / 32)  # nor is the padded path on it; 7 itself is a number of the grid


def test_the_loss_sees_the_small_difference():
    """The gradient of a pair with a margin of 0.001 in bfloat16 training is not that of a tie."""
    tokenizer = tokenizer_for(ROWS)
    model = tiny_model(LLAMA, tokenizer, precision="bfloat16")
    store = build_store(ROWS, Renderer(tokenizer, Render(max_tokens=300), causal=True), training=True)
    scores = model(collate(store, np.arange(len(store)), store.judgment_weights("pair")))
    assert scores.dtype == torch.float32 and scores.requires_grad
    assert (scores != scores.bfloat16().float()).float().mean() > 0.8
