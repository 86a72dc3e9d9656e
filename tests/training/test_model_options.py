"""Options of the model and the optimizer in whole runs: what the results, the folder and the screen say of them."""

import json
import statistics

import pytest
import torch
from safetensors.torch import load_file

import bradley
from bradley.errors import UserError
from bradley.model.build import Built
from bradley.model.choose_engine import Engine
from bradley.model.folder.normalization import store_hash
from bradley.model.folder.save_load import load_model
from bradley.scoring.reward_model import score_comparisons
from bradley.training.announce import model_lines
from tests.helpers import LLAMA, changed, comparisons, store_for, tiny_model, tiny_run, tokenizer_for

pytestmark = pytest.mark.transformers

SETTINGS = tiny_run(train={"max_steps": 3}, optim={"lr": 1e-3, "warmup": 0}, eval={"every": 3})
TRAIN, VALID, TEST = comparisons(30), comparisons(8, seed=9), comparisons(6, seed=11)


@pytest.fixture(autouse=True)
def plain_runs(tmp_path, monkeypatch):
    """A cache of their own, and no figures, which nothing here looks at."""
    monkeypatch.setenv("BRADLEY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("bradley.training.run.write_pages", lambda *_: None)


def settings(**sections):
    return changed(SETTINGS, **sections)


def scores(rows):
    return [score for row in rows for score in row.scores]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_results_say_in_which_dtype_the_model_was_trained_and_evaluated(tmp_path, precision):
    run = bradley.train(settings(model={"precision": precision}), train=TRAIN, valid=VALID, output=tmp_path / "run")
    assert run.results["compute"] == precision
    assert f"{run.model}  ({precision})" in run.summary()
    assert json.loads((run.folder / "results.json").read_text())["compute"] == precision
    assert scores(score_comparisons(run.model, VALID)) == pytest.approx(scores(run.rows("valid")), abs=1e-2)


def test_the_unit_of_the_scores_is_that_of_the_best_model_on_the_selection_set(tmp_path):
    run = bradley.train(settings(), train=TRAIN, valid=VALID, test=TEST, output=tmp_path / "run")
    loaded = load_model(run.model)
    known, measured = loaded.normalization, scores(run.rows("valid"))
    assert (known.set, known.n) == ("valid", 16)
    assert known.mean == pytest.approx(statistics.fmean(measured), abs=1e-9)
    assert known.std == pytest.approx(statistics.pstdev(measured), abs=1e-9)
    assert known.sha256 == store_hash(store_for(VALID, loaded.renderer.tokenizer, training=False, max_tokens=128))
    normalized = scores(score_comparisons(run.model, VALID, normalize=True))
    assert statistics.fmean(normalized) == pytest.approx(0, abs=1e-4)
    for step in (run.folder / "checkpoints").glob("step-*"):
        assert load_model(step).normalization is None  # only the published model is known to be the best


def test_without_a_selection_set_the_first_evaluated_one_is_the_reference(tmp_path):
    blind = settings(data={"valid_share": 0.0})
    run = bradley.train(blind, train=TRAIN, output=tmp_path / "probe")
    assert load_model(run.model).normalization[:2] == ("train_probe", 16)
    run = bradley.train({**blind, "eval": {"train_probe": 0}}, train=TRAIN, test=TEST, output=tmp_path / "blind")
    assert load_model(run.model).normalization is None  # a test set is no reference


@pytest.mark.parametrize("trainable", ["head", "head_and_norms"])
def test_a_run_moves_what_is_trainable_and_saves_the_rest_as_it_was(tmp_path, trainable):
    base = bradley.train(settings(), train=TRAIN, valid=VALID, output=tmp_path / "base").model
    model = {"path": str(base), "trainable": trainable}
    run = bradley.train({**settings(), "model": model}, train=TRAIN, valid=VALID, output=tmp_path / "run")
    last = json.loads((run.folder / "checkpoints" / "index.json").read_text())["last"]["step"]
    before, after = (
        load_file(place / "model.safetensors") for place in (base, run.folder / "checkpoints" / f"step-{last:06d}")
    )
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    norms = {name for name in before if "norm" in name}
    assert moved == ({"score.weight"} if trainable == "head" else {"score.weight", *norms})


def test_recomputing_changes_no_number_of_a_run(tmp_path):
    results = []
    for on in (False, True):
        config = settings(model={"gradient_checkpointing": on})
        results.append(bradley.train(config, train=TRAIN, valid=VALID, output=tmp_path / str(on)))
    assert scores(results[0].rows("valid", "last")) == pytest.approx(scores(results[1].rows("valid", "last")), abs=1e-5)


@pytest.mark.parametrize(
    "sections",
    [
        {"optim": {"name": "adamw"}},
        {"optim": {"options": {"amsgrd": True}}},
        {"model": {"trainable": "head"}, "optim": {"head_lr": 1e-3}},
        {"model": {"trainable": "head", "gradient_checkpointing": True}},
    ],
)
def test_what_does_not_suit_is_found_before_the_folder_is_made(tmp_path, sections):
    with pytest.raises(UserError):
        bradley.train(settings(**sections), train=TRAIN, valid=VALID, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


class OnGpu(torch.nn.Module):
    """A model that says it is on a GPU, for machines that have none."""

    device = torch.device("cuda")
    compute = torch.bfloat16

    def __init__(self, network):
        super().__init__()
        self.network = network


def test_the_screen_says_what_is_trained_and_that_one_gpu_of_several_is_used(monkeypatch):
    tokenizer = tokenizer_for(TRAIN)
    model = tiny_model(LLAMA, tokenizer, trainable="head_and_norms")
    rest = sum(p.numel() for name, p in model.named_parameters() if not name.endswith(("norm.weight", "score.weight")))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    lines = list(model_lines(Built(model, "drawn, score", Engine("plain"))))
    assert lines[0].endswith("M parameters on cpu, float32; head drawn, score")
    total = rest + 192
    kinds = f"head 32 of 32, norms 160 of 160, rest 0 of {rest:,}"
    assert lines[1] == f"trained      192 of {total:,} parameters ({192 / total:.2%}): {kinds}"
    assert len(lines) == 2  # on a CPU no GPU is used
    lines = list(model_lines(Built(OnGpu(model.network), "drawn, score", Engine("plain"))))
    assert lines[2] == "device       one of 4 visible GPUs: each process uses a single one"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert len(list(model_lines(Built(OnGpu(model.network), "drawn, score", Engine("plain"))))) == 2
