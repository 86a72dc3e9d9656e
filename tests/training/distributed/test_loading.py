"""A model is built once and cut up: every process has its part, and scores are those of the whole."""

import pytest
import torch

from bradley.config import Config
from bradley.errors import DivergedError, UserError
from bradley.model.build import build_model
from bradley.model.choose_engine import _scores, _toy_batch
from bradley.training.distributed import build, fsdp
from bradley.training.distributed.build import build_strategy
from bradley.training.distributed.full_tensors import full_tensor
from bradley.training.distributed.process_group import ProcessGroup
from tests.helpers import LLAMA
from tests.training.distributed.processes import together, values
from tests.training.jobs import TOKENIZER

pytestmark = pytest.mark.transformers

CPU = torch.device("cpu")


def settings(mode: str = "shard_all", **model) -> Config:
    return Config(model={"config": LLAMA, "tokenizer": "train", **model}, parallel={"mode": mode}, seed=3)


def scores_of(group: ProcessGroup, config: Config) -> tuple[list[float], dict[str, bytes]]:
    built, _ = build_strategy(group, config, TOKENIZER, CPU)
    found = _scores(built.model, _toy_batch((5, 6), CPU)).tolist()
    return found, {name: full_tensor(w).detach().numpy().tobytes() for name, w in built.model.named_parameters()}


@pytest.fixture
def pretrained(tmp_path):
    """A folder of a language model, as a base to train on."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    values = {name: value for name, value in LLAMA.items() if name != "model_type"}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(TOKENIZER), **values)).save_pretrained(tmp_path / "base")
    TOKENIZER.save_pretrained(tmp_path / "base")
    return str(tmp_path / "base")


def test_a_model_of_a_config_in_shards_has_weights_and_scores_of_the_whole() -> None:
    assert values(2, lambda group: scores_of(group, settings())) == [scores_of(ProcessGroup(), settings())] * 2


def test_so_has_a_pretrained_one_with_or_without_adapters(pretrained: str) -> None:
    for model in ({}, {"adapter": {"kind": "lora", "rank": 4}}):
        config = Config(model={"path": pretrained, **model}, parallel={"mode": "shard_all"}, seed=3)
        assert (
            values(2, lambda group, config=config: scores_of(group, config)) == [scores_of(ProcessGroup(), config)] * 2
        )


def test_only_the_main_process_reads_the_weights(pretrained: str, monkeypatch) -> None:
    config = Config(model={"path": pretrained}, parallel={"mode": "shard_all"})

    def work(group: ProcessGroup) -> str:
        def read(*args, **kwargs):
            place = kwargs["place"].type
            read_at.append(place)
            return build_model(*args, **kwargs)

        read_at: list[str] = []
        monkeypatch.setattr(fsdp, "build_model", read)
        build_strategy(group, config, TOKENIZER, CPU)
        return read_at[0]

    assert values(2, work) == ["cpu", "meta"]


def test_a_base_that_cannot_be_read_ends_all_processes_with_its_own_code(tmp_path) -> None:
    config = Config(model={"path": str(tmp_path)}, parallel={"mode": "shard_all"})
    results = together(2, lambda group: scores_of(group, config))
    assert [result.code for result in results] == [4, 4]
    assert "has no config.json" in results[1].error


@pytest.mark.parametrize(
    ("sections", "message"),
    [({"optim": {"name": "Muon"}}, "looks at whole weights"), ({"model": {"compile": True}}, "do not go together")],
)
def test_what_shards_cannot_do_is_refused(sections, message) -> None:
    base = settings()
    fields = {name: base.model_dump()[name] | sections.get(name, {}) for name in ("model", "parallel", *sections)}
    config = Config(**fields)
    with pytest.raises(UserError, match=message):
        build.check_shards(config.parallel, config.optim, config.model)


def test_processes_that_draw_different_heads_are_stopped() -> None:
    def work(group: ProcessGroup) -> None:
        config = Config(model={"config": LLAMA, "tokenizer": "train"}, seed=group.rank)
        build_strategy(group, config, TOKENIZER, CPU)

    results = together(2, work)
    assert [result.code for result in results] == [DivergedError.exit_code] * 2
    assert "weights of processes 0 and 1 of 2 differ" in results[0].error
