"""NaN and infinity in weights: named at loading a base, at saving, at loading a model, used by a text or not."""

import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from bradley.config import Model, Render
from bradley.data.render import Renderer
from bradley.errors import CheckpointError
from bradley.model.build import build_model
from bradley.model.finite import check_finite, is_finite
from bradley.model.folder.save_load import load_model, save_model
from tests.helpers import LLAMA, tiny_model
from tests.model.adapted import TOKENIZER, adapted, base_model, save

pytestmark = pytest.mark.transformers

EMBEDDING, OUTPUT = "model.embed_tokens.weight", "lm_head.weight"
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]


def poisoned(folder, name, value, dtype=torch.float32):
    """Put a number into the last place of a tensor of a weight file, or into a file of its own kind of number."""
    (path,) = folder.glob("*.safetensors")
    state = load_file(path)
    state[name] = state[name].to(dtype)
    state[name].view(-1)[-1] = value
    save_file(state, path, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_bad_number_is_found_in_every_kind_of_number(dtype, value):
    numbers = torch.ones(2, 300).to(dtype)
    assert is_finite(numbers)
    # E4M3 has no infinity: the nearest thing is NaN.
    numbers.view(-1)[-1] = math.nan if dtype == torch.float8_e4m3fn else value
    assert not is_finite(numbers)
    with pytest.raises(CheckpointError, match=r"here: of 600 numbers in w, 1 (NaN|infinite)"):
        check_finite({"w": numbers}, "here")


def test_a_sum_that_overflows_and_infinities_that_cancel_are_told_apart():
    assert is_finite(torch.full((1000,), 3e38))
    assert is_finite(torch.full((100_000,), 60000.0, dtype=torch.float16))
    assert not is_finite(torch.tensor([math.inf, -math.inf]))
    check_finite({"ids": torch.ones(3, dtype=torch.int64), "shell": torch.empty(3, device="meta")}, "here")


@pytest.mark.parametrize("name", [EMBEDDING, OUTPUT, "model.layers.1.mlp.up_proj.weight"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_base_model_is_refused_before_the_first_step(tmp_path, name, dtype):
    """The output layer of a language model too, which a reward model leaves aside."""
    base = poisoned(base_model(tmp_path / "base", LLAMA), name, math.nan, dtype)
    with pytest.raises(CheckpointError, match=rf"base: of [\d,]+ numbers in {name}, 1 NaN"):
        build_model(Model(path=str(base)), TOKENIZER, 0, torch.device("cpu"))


def test_a_finished_model_is_refused_at_saving_and_at_loading(tmp_path):
    model, renderer = tiny_model(LLAMA, TOKENIZER), Renderer(TOKENIZER, Render(max_tokens=64), causal=True)
    save_model(tmp_path / "m", model, renderer, {})
    poisoned(tmp_path / "m", EMBEDDING, math.inf)
    with pytest.raises(CheckpointError, match=rf"numbers in {EMBEDDING}, 1 infinite"):
        load_model(tmp_path / "m", accept_edits=True)
    with torch.no_grad():
        model.network.get_input_embeddings().weight[-1, -1] = math.nan
    with pytest.raises(CheckpointError, match=r"embed_tokens\.weight, 1 NaN"):
        save_model(tmp_path / "n", model, renderer, {})
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_base_and_an_adapter_are_both_looked_at(tmp_path):
    pytest.importorskip("peft")
    base = base_model(tmp_path / "base", LLAMA)
    folder = save(tmp_path / "m", adapted(base))
    (path,) = folder.glob("*.safetensors")
    name = next(name for name in load_file(path) if "lora_B" in name)
    poisoned(folder, name, math.nan)
    with pytest.raises(CheckpointError, match=r"lora_B.*, 1 NaN"):
        load_model(folder, accept_edits=True)
    poisoned(base, OUTPUT, math.nan)
    with pytest.raises(CheckpointError, match=rf"{OUTPUT}, 1 NaN"):
        adapted(base)


@pytest.mark.parametrize("theta", [math.nan, 0.0])
def test_a_drawn_network_is_looked_at_tables_included(theta):
    settings = Model(config={**LLAMA, "rope_theta": theta}, tokenizer="train")
    with pytest.raises(CheckpointError, match=r"model\.config: of .* numbers in .*inv_freq"):
        build_model(settings, TOKENIZER, 0, torch.device("cpu"))
