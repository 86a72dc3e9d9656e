"""The engine `flex` as far as a CPU has it: the mask, and the scores of its forward pass."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from bradley.model.choose_engine import prove
from bradley.model.engine import flex
from bradley.model.engine.contract import Refused
from tests.helpers import tiny_model
from tests.model.engine.engines import (
    BY_DAY,
    GROUPS,
    SHAPES,
    STORE,
    TOKENIZER,
    YARDSTICK,
    assert_equal_engines,
    assert_equal_runs,
    packed,
    run,
    use,
)

pytestmark = pytest.mark.transformers

LONG = st.lists(
    st.tuples(st.integers(0, 600), st.lists(st.integers(1, 300), min_size=1, max_size=6)), min_size=1, max_size=4
)


@pytest.fixture(autouse=True)
def one_kernel():
    """No kernel compiled by another test."""
    flex._compiled.cache_clear()
    yield
    flex._compiled.cache_clear()


def attends(groups, length):
    """[T, T] by the definition, token by token; what is left of `length` is padding."""
    mask = torch.zeros(length, length, dtype=torch.bool)
    end = 0
    for prefix, owns in groups:
        start, end = end, end + prefix
        for size in (0, *owns):
            own = (start, end) if size == 0 else (end, end := end + size)
            mask[own[0] : own[1], own[0] : own[1]] = True
            if size:
                mask[own[0] : own[1], start : start + prefix] = True
    mask[end:, end:] = True
    return mask.tril()


@given(groups=LONG)
@settings(max_examples=25, deadline=None)
def test_the_mask_is_the_rule_and_its_blocks_are_those_of_pytorch(groups):
    row = flex.flex_row_of(packed(groups), torch.float32)
    length = row.mask.seq_lengths[0]
    rule = attends(groups, length)
    place = torch.arange(length)
    assert torch.equal(row.mask.mask_mod(0, 0, place[:, None], place), rule)
    expected = create_block_mask(lambda b, h, q, k: rule[q, k], 1, 1, length, length, "cpu", BLOCK_SIZE=flex.BLOCK)
    for part in ("kv", "q", "full_kv", "full_q"):
        numbers, theirs = (getattr(mask, f"{part}_num_blocks")[0, 0] for mask in (row.mask, expected))
        assert torch.equal(numbers, theirs)
        for line, count in enumerate(numbers.tolist()):
            blocks, others = (getattr(mask, f"{part}_indices")[0, 0, line, :count] for mask in (row.mask, expected))
            assert torch.equal(blocks, others)
    assert row.longest == max(prefix + max(owns) for prefix, owns in groups)


def test_blocks_are_the_same_under_autocast():
    batch = packed([(1, [1] * 127), (300, [200, 300]), (0, [5, 400])])
    expected = flex.flex_row_of(batch, torch.float32).mask
    with torch.autocast("cpu", torch.bfloat16):
        mask = flex.flex_row_of(batch, torch.bfloat16).mask
    assert torch.equal(mask.kv_num_blocks, expected.kv_num_blocks)
    assert torch.equal(mask.full_kv_num_blocks, expected.full_kv_num_blocks)


@given(tokens=st.integers(1, 10**6))
def test_a_padded_length_is_near_and_one_of_few(tokens):
    length = flex.padded(tokens)
    assert length % flex.BLOCK == 0 and 0 <= length - tokens < max(flex.BLOCK, tokens / flex.LENGTHS + 1)
    assert flex.padded(length) == length


def test_lengths_between_powers_of_two():
    assert len({flex.padded(tokens) for tokens in range(2**14 + 1, 2**15 + 1)}) == flex.LENGTHS
    assert [flex.padded(tokens) for tokens in (1, 128, 129, 4096, 4097, 8193)] == [128, 128, 256, 4096, 4352, 8704]


@pytest.fixture
def eager(monkeypatch):
    """FlexAttention as PyTorch defines it, score by score: that has gradients on a CPU, unlike its kernel there."""
    monkeypatch.setattr("torch.nn.attention.flex_attention._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    monkeypatch.setattr("torch.nn.attention.flex_attention._validate_device", lambda *_: None)
    monkeypatch.setattr(flex, "_compiled", lambda: flex.flex_attention)


@pytest.mark.parametrize(
    "name", [name if name in BY_DAY else pytest.param(name, marks=pytest.mark.nightly) for name in sorted(SHAPES)]
)
def test_scores_and_gradients_equal_the_plain_path(name, eager):
    model = tiny_model(SHAPES[name], TOKENIZER)

    @given(groups=GROUPS)
    @settings(max_examples=5, deadline=None)
    def check(groups):
        assert_equal_engines(model, packed([*groups, *YARDSTICK]), engine="flex")

    check()


def test_with_recomputed_activations(eager):
    model = tiny_model(SHAPES["llama"], TOKENIZER, gradient_checkpointing=True)
    assert_equal_engines(model, packed([(11, [3, 1, 9]), (0, [5, 6]), (40, [30, 30])]), engine="flex")


def test_padding_reaches_no_score(eager, monkeypatch):
    model, batch = use(tiny_model(SHAPES["llama"], TOKENIZER), "flex"), packed([(9, [4, 7]), (90, [40, 30])])
    with torch.no_grad():
        expected = model(batch)
        model.network.config.get_text_config().pad_token_id = 17
        assert torch.equal(model(batch), expected)
        monkeypatch.setattr(flex, "BLOCK", 1024)
        assert flex.padded(len(batch.tokens)) == 1024
        torch.testing.assert_close(model(batch), expected, rtol=0, atol=1e-6)


def test_in_bfloat16_attention_is_computed_in_it(eager, monkeypatch):
    seen = []
    monkeypatch.setattr(
        flex, "_compiled", lambda: lambda *row, **more: seen.extend(row) or flex_attention(*row, **more)
    )
    model = tiny_model(SHAPES["llama"], TOKENIZER, precision="bfloat16")
    assert prove(use(model, "flex"), STORE).difference < 0.05 and model.engine == "flex"
    assert len(seen) == 6 and {tensor.dtype for tensor in seen} == {torch.bfloat16}


def test_a_kernel_serves_many_lengths(traced):
    model = use(tiny_model(SHAPES["llama"], TOKENIZER), "flex")
    with torch.no_grad():
        for tokens in range(100, 2000, 300):
            model(packed([(tokens, [20, 5 + tokens % 7]), (tokens // 5, [3])]))
    assert 1 <= traced["stats"]["unique_graphs"] <= 3


@pytest.mark.nightly  # by day with varlen, whose kernel the compiler cannot look into either
def test_a_compiled_backbone_is_compiled_once_for_all_batches(traced, eager):
    plain, compiled = (tiny_model(SHAPES["llama"], TOKENIZER, compile=on) for on in (False, True))
    for tokens in (11, 161, 411):
        batch = packed([(tokens, [3, 1 + tokens % 5, 9]), (0, [5] * (1 + tokens % 3)), (40, [30, 31])])
        assert_equal_runs(run(plain, "plain", batch), run(compiled, "flex", batch))
    assert traced["stats"]["unique_graphs"] == 1 and not traced["graph_break"]


def test_heads_and_dropout_that_the_kernel_cannot_are_refused():
    row = flex.flex_row_of(packed([(2, [1, 1])]), torch.float32)
    module = torch.nn.Module()
    for size in (8, 320):
        with pytest.raises(Refused, match=f"heads of size {size}, and flex takes 16 to 256"):
            flex.attend(module, *[torch.zeros(1, 2, 128, size)] * 3, None, segments=row)
    tensors = [torch.zeros(1, 2, 128, 16)] * 3
    with pytest.raises(Refused, match="drops attention weights"):
        flex.attend(module, *tensors, None, segments=row, dropout=0.1)
    with pytest.raises(Refused, match=r"model\.engine = flex: the model has attention sinks"):
        flex.attend(module, *tensors, None, segments=row, s_aux=1.0)
