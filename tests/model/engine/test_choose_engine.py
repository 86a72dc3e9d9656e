"""Which engine a model gets: the first that its device, its precision and its attention allow."""

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bradley.errors import CheckpointError, UserError
from bradley.model import choose_engine as engine
from bradley.model.choose_engine import choose_engine, prove
from bradley.model.engine import flex, varlen
from bradley.model.engine.registry import IMPLEMENTATIONS
from tests.helpers import BERT, tiny_model
from tests.model.engine.engines import SHAPES, STORE, TOKENIZER, attention, use

pytestmark = pytest.mark.transformers

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
H100, T4 = (9, 0), (7, 5)


@pytest.fixture
def gpu(monkeypatch):
    """A CPU whose engines are those of a GPU, their kernels played; returns a switch for what is missing."""
    reasons = {"varlen": "", "flex": ""}
    monkeypatch.setitem(engine.AUTO, "cpu", engine.AUTO["cuda"])
    for name in reasons:
        played = IMPLEMENTATIONS[name]._replace(missing=lambda *_, name=name: reasons[name])
        monkeypatch.setitem(IMPLEMENTATIONS, name, played)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", attention)
    monkeypatch.setattr("torch.nn.attention.flex_attention._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    monkeypatch.setattr(flex, "_compiled", lambda: flex.flex_attention)
    return reasons


def plain_model(**settings):
    return tiny_model(settings.pop("shape", SHAPES["llama"]), TOKENIZER, engine="plain", **settings)


def test_on_a_gpu_varlen_comes_first_then_flex_then_plain(gpu):
    model = plain_model()
    assert choose_engine(model, "auto") == ("varlen", "") and model.engine == "varlen"
    gpu["varlen"] = "computes in float32"
    assert choose_engine(model, "auto") == ("flex", "computes in float32") and model.engine == "flex"
    gpu["flex"] = "is on a toaster"
    assert choose_engine(model, "auto") == ("plain", "computes in float32; is on a toaster")
    gpu["flex"] = "computes in float32"
    assert str(choose_engine(model, "auto")) == "plain: the model computes in float32"
    assert model.engine == "plain"


@pytest.mark.parametrize("name", ["varlen", "flex"])
def test_the_proof_holds_each_engine_against_plain(name, gpu, monkeypatch):
    model = plain_model()
    assert choose_engine(model, name).name == name
    assert prove(model, STORE).difference < 1e-6 and model.engine == name
    broken = {
        "varlen": (varlen, "_taken", lambda source, index: source[index - index % 2]),
        "flex": (flex, "_rule", lambda segment, parent: lambda b, h, q, k: segment[q] == segment[k]),
    }
    monkeypatch.setattr(*broken[name])
    with pytest.raises(CheckpointError, match=f"the engine {name} gives other scores than plain"):
        prove(model, STORE)


@given(st.sampled_from(["segments", "plain", "both"]), st.sampled_from([math.nan, math.inf]), st.integers(0, 6))
@example("segments", math.nan, 0)
@example("plain", math.inf, 0)
@settings(max_examples=20, deadline=None)
def test_scores_that_are_no_numbers_prove_nothing(path, value, place):
    """NaN is above no limit, and infinite scores of the plain path make the limit infinite: both have to fail."""
    # One score of the rows is spoilt, on the named paths; infinite on both, the difference is NaN.
    spoilt = {"both": ("segments", "plain")}.get(path, (path,))
    model = use(plain_model(), "segments")

    def spoil(module, _, scores):
        if module.engine in spoilt:
            scores[place % len(scores)] = value
        return scores

    assert prove(model, STORE).difference < 1e-6
    hook = model.register_forward_hook(spoil)
    with pytest.raises(CheckpointError, match="the engine segments gives other scores than plain"):
        prove(model, STORE)
    assert model.engine == "segments"
    hook.remove()
    assert prove(model, STORE).difference < 1e-6


@pytest.mark.parametrize("name", ["varlen", "flex"])
def test_compiled_models_take_them_and_segments_do_not(name, gpu):
    model = plain_model()
    assert choose_engine(model, name, compiled=True).name == name
    with pytest.raises(UserError, match=r"is compiled \(model\.compile\)"):
        choose_engine(model, "segments", compiled=True)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (BERT, "is an encoder"),
        ({**SHAPES["llama"], "model_type": "mistral", "sliding_window": 64}, "window of 64 tokens, and a response"),
        ({**SHAPES["gemma"], "model_type": "gemma2", "sliding_window": 512}, "softcap"),
        ({**SHAPES["llama"], "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "length of the row"),
        ({**SHAPES["llama"], "num_attention_heads": 16, "num_key_value_heads": 16}, "heads of size 4"),
    ],
)
def test_what_packed_rows_do_not_express_is_plain_on_a_gpu_too(shape, reason, gpu):
    model = plain_model(shape=shape)
    chosen = choose_engine(model, "auto", longest=512)
    assert chosen.name == model.engine == "plain" and reason in chosen.reason
    for name in ("flex", "varlen"):
        with pytest.raises(UserError, match=rf"model\.engine = {name}: the model .*{reason}") as caught:
            choose_engine(model, name, longest=512)
        assert caught.value.hint == "use --model.engine segments or plain" and model.engine == "plain"


def test_dropped_attention_weights_are_seen_before_training(gpu):
    dropping = plain_model(shape={**SHAPES["llama"], "attention_dropout": 0.1}, dropout=True)
    reason = "drops attention weights (attention_dropout), which"
    assert choose_engine(dropping, "auto") == ("plain", f"{reason} varlen cannot; {reason} flex cannot")
    assert choose_engine(dropping, "segments").name == "segments"
    silent = plain_model(shape={**SHAPES["llama"], "attention_dropout": 0.1})
    assert choose_engine(silent, "auto").name == "varlen"
    assert "attn_pdrop" in choose_engine(plain_model(shape=SHAPES["gpt2"], dropout=True), "auto").reason


@pytest.mark.parametrize("name", ["flex", "varlen"])
def test_by_name_on_a_cpu_they_are_an_error_that_names_another(name):
    model = plain_model()
    with pytest.raises(UserError, match=rf"model\.engine = {name}: the model is on cpu, ") as caught:
        choose_engine(model, name)
    assert caught.value.hint == "use --model.engine segments or plain" and model.engine == "plain"
    assert choose_engine(model, "auto") == ("segments", "")


def test_what_varlen_misses_on_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: H100)
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    assert varlen.missing(CUDA, torch.bfloat16) == "" == flex.missing(CUDA, torch.float32)
    assert varlen.missing(CUDA, torch.float32) == "computes in float32, and varlen in bfloat16 alone"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: T4)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla T4")
    assert "is on Tesla T4, for which" in varlen.missing(CUDA, torch.bfloat16)


def test_an_unknown_engine_is_no_engine():
    with pytest.raises(KeyError):
        use(plain_model(), "segment")
