"""What is trained moves: planted faults are named, explained weights are told from them, and nothing is disturbed."""

import numpy as np
import pytest
import torch
from torch import nn

from bradley.common.console import Console
from bradley.config import Optim
from bradley.errors import CheckpointError
from bradley.training.guards.gradient_flow import GradientFlow, checksum, part_in_scores
from bradley.training.loop import fit
from tests.helpers import BERT, GPT2, GPT_NEOX, LLAMA, comparisons, store_for, tiny_model, tokenizer_for
from tests.training.jobs import config, job

ROWS = comparisons(4)
TOKENIZER = tokenizer_for(ROWS)


def batch_of(rows=ROWS):
    from bradley.model.engine.batch import collate

    store = store_for(rows, TOKENIZER)
    return collate(store, np.arange(len(rows)), store.judgment_weights("pair"))


BATCH = batch_of()


class Heard(Console):
    """A console that remembers."""

    def __init__(self):
        super().__init__("quiet")
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def lines_of(folder, settings=None, model=LLAMA, change=lambda network: None):
    console = Heard()
    made = job(folder, settings, model, console=console)
    change(made.model.network)
    fit(made)
    return [line for line in console.lines if line.startswith(("unmoved", "untrained"))]


def run(model, settings, steps=4, loss=lambda s: nn.functional.softplus(s[1::2] - s[::2]).mean()):
    """Steps of plain descent on one batch, looked at as the loop does."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=settings.lr)
    movement, lines = GradientFlow(model, steps, steps, settings), []
    for step in range(1, steps + 1):
        loss(model(BATCH)).backward()
        optimizer.step()
        lines += movement.look(step, lambda: BATCH)
        optimizer.zero_grad()
    return lines


KEYS = (
    "untrained    bert.encoder.layer.0.attention.self.key.bias, bert.encoder.layer.1.attention.self.key.bias: no "
    "gradient, and no score of this batch depends on it"
)
"""What they add is the same for all keys of a query, and no softmax sees that."""


def constant(name):
    return f"untrained    {name}: adds the same to every score, which no comparison can train"


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (LLAMA, []),
        (GPT2, [constant("transformer.ln_f.bias")]),
        (GPT_NEOX, [constant("gpt_neox.final_layer_norm.bias")]),
        (BERT, [constant("classifier.bias"), KEYS]),
    ],
    ids=["llama", "gpt2", "gpt_neox", "bert"],
)
@pytest.mark.parametrize("precision", [pytest.param("float32", marks=pytest.mark.nightly), "bfloat16"])
def test_of_a_sound_model_only_what_cannot_learn_is_named(tmp_path, shape, expected, precision):
    """Its gradient is the rounding of 0, which Adam follows."""
    assert lines_of(tmp_path / "run", config(model={"precision": precision}), shape) == expected


@pytest.mark.parametrize(
    ("shape", "name"), [(GPT2, "transformer.ln_f.bias"), (GPT_NEOX, "gpt_neox.final_layer_norm.bias")]
)
def test_a_constant_of_all_scores_is_known_for_what_it_is(shape, name):
    model = tiny_model(shape, TOKENIZER)
    weights = dict(model.network.named_parameters())
    assert part_in_scores(model, BATCH, weights[name]) == "constant"
    for other in ("ln_1.bias", "input_layernorm.bias", "ln_f.weight", "final_layer_norm.weight", "score.weight"):
        for full, weight in weights.items():
            if full.endswith(other):
                assert part_in_scores(model, BATCH, weight) == "other", full


def test_a_constant_of_all_scores_is_named_in_one_line_and_moves_where_scores_themselves_count():
    frozen = tiny_model(GPT2, TOKENIZER)
    frozen.network.transformer.ln_f.bias.register_hook(torch.zeros_like)  # what pairs leave of it, without rounding
    (line,) = run(frozen, Optim(lr=0.1, warmup=0))
    assert line == constant("transformer.ln_f.bias")
    assert run(tiny_model(GPT2, TOKENIZER), Optim(lr=0.1, warmup=0), loss=lambda s: s.square().mean()) == []


def cut(network):
    """A norm whose weight is used, and cut off from the gradient."""
    norm = network.model.norm
    norm.forward = lambda hidden: hidden * norm.weight.detach()


def spare(network):
    network.spare = nn.Parameter(torch.ones(3))


def test_a_weight_that_is_cut_off_from_the_gradient_stops_the_run(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"no gradient reaches model\.norm\.weight, though scores depend on it"
    ) as caught:
        lines_of(tmp_path / "cut", change=cut)
    assert "model.trainable" in caught.value.hint


def test_a_weight_that_nothing_uses_is_named(tmp_path):
    (line,) = lines_of(tmp_path / "spare", change=spare)
    assert line == "untrained    spare: no gradient, and no score of this batch depends on it"


def test_a_rate_that_is_lost_to_rounding_is_said_after_the_warm_up():
    settings = Optim(lr=1e-12, warmup=2)
    (line,) = run(tiny_model(LLAMA, TOKENIZER), settings)
    assert line.startswith("unmoved      model.") and " more after 3 steps, the warm-up among them" in line
    assert run(tiny_model(LLAMA, TOKENIZER), Optim(lr=1e-12, warmup=4)) == []  # no step after the warm-up: no claim


def test_of_one_step_and_of_flat_losses_nothing_is_claimed():
    model = tiny_model(LLAMA, TOKENIZER)
    cut(model.network)
    assert run(model, Optim(lr=0.1, warmup=0), steps=1) == []
    assert run(model, Optim(lr=0.1, warmup=2), steps=3, loss=lambda s: 0.0 * s.sum()) != []  # lost, and not cut off


def test_looking_changes_nothing():
    models = [tiny_model(GPT2, TOKENIZER) for _ in range(2)]
    before = torch.get_rng_state()
    for weight in models[0].network.parameters():
        part_in_scores(models[0], BATCH, weight)
    assert torch.equal(torch.get_rng_state(), before) and models[0].training
    for one, two in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_scores_owe_to_a_weight_is_seen_in_float32_and_the_model_left_as_it_was(precision):
    model, seen = tiny_model(LLAMA, TOKENIZER, precision=precision), []
    model.use("segments")
    model.network.model.norm.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    engine = model.engine
    assert part_in_scores(model, BATCH, model.network.model.norm.weight) == "other"
    assert seen == [False, False]
    assert (model.compute, model.engine, model.training) == (getattr(torch, precision), engine, True)
    assert engine == "segments"


def test_the_checksum_sees_the_smallest_change_of_any_number():
    for dtype in (torch.float32, torch.bfloat16):
        weight = torch.randn(5, 7).to(dtype)
        start = checksum(weight)
        assert checksum(weight.clone()) == start
        for place in range(weight.numel()):
            other = weight.clone()
            other.view(torch.int32 if dtype == torch.float32 else torch.int16).view(-1)[place] += 1
            assert checksum(other) != start


def test_the_factors_of_an_adapter_have_moved_when_they_are_looked_at(tmp_path):
    pytest.importorskip("peft")
    from tests.model.adapted import adapted, base_model

    base = base_model(tmp_path / "base", LLAMA)
    for steps in (2, 4):
        assert run(adapted(base, dora=True, norms=True), Optim(lr=0.1, warmup=0), steps=steps) == []


def test_the_settings_of_a_run_reach_the_check(tmp_path):
    settings = config(optim={"lr": 1e-12, "warmup": 1, "name": "SGD"}, train={"max_steps": 4})
    (line,) = lines_of(tmp_path / "slow", settings)
    assert "after 3 steps" in line
    assert (
        lines_of(tmp_path / "short", config(optim={"lr": 1e-12, "warmup": 3, "name": "SGD"}, train={"max_steps": 3}))
        == []
    )
