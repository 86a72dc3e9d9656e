"""The set-up that every arm of `train_vs_trl.py` starts from: one tokenizer, one model folder, one set of token ids."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bradley.config import Config, Data, Eval, Log, Loss, Model, Optim, Render, Train
from bradley.data.load import load_splits
from bradley.data.render import Renderer
from bradley.data.token_store import TokenStore, build_store
from bradley.data.tokenizer import load_tokenizer, texts_of, train_tokenizer
from bradley.records import Comparison

VOCABULARY = 8000
TOKENIZER_ROWS = 4000
ENDLESS = 10**6
"""Steps of a run that is ended from outside, before any schedule or evaluation sees its end."""


def llama(hidden: int, layers: int, heads: int, intermediate: int, **others: Any) -> dict[str, Any]:
    """A Llama shape, with as many key heads as query heads unless `others` say something else."""
    return {
        "model_type": "llama",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "intermediate_size": intermediate,
        "max_position_embeddings": 4096,
        **others,
    }


SHAPES = {
    "3M": llama(256, 4, 4, 688),
    "10M": llama(384, 6, 6, 1024),
    "25M": llama(512, 8, 8, 1376),
    "40M": llama(768, 6, 12, 2048),
    "60M": llama(640, 12, 10, 1712),
    "1B": llama(2048, 16, 32, 8192, num_key_value_heads=8),
    "8B/4": llama(4096, 8, 32, 14336, num_key_value_heads=8),
}
"""Non-embedding parameters -> settings: Llama-3.2-1B's shape is `1B`, 8 of the 32 layers of Llama-3.1-8B are `8B/4`."""


@dataclass(frozen=True)
class Trial:
    """What parent and arms agree on.

    Attributes:
        folder: where tokenizer and model (`model`), token store (`cache`) and pairs (`pairs`, `ordered`) lie.
        batch_size: comparisons in a step of ours; they hold `step_judgments` on average.
        precision: as the setting `model.precision`.
        threads: of the CPU (0: PyTorch's own choice).
        parameters: of the model that every token is multiplied with, see `matrix_weights`.
    """

    data: str
    folder: str
    max_tokens: int
    batch_size: int
    step_judgments: int
    device: str
    precision: str
    threads: int
    lr: float
    seed: int
    parameters: int

    @property
    def bfloat16(self) -> bool:
        """Whether the backbone computes in bfloat16."""
        return self.precision == "bfloat16" or (self.precision == "auto" and self.device == "cuda")

    def path(self, name: str) -> Path:
        """A part of the set-up."""
        return Path(self.folder) / name

    def save(self) -> None:
        """Write it where `read_trial` finds it."""
        self.path("trial.json").write_text(json.dumps(asdict(self)))

    def config(self) -> Config:
        """A run of the product, without evaluation."""
        return Config(
            seed=self.seed,
            data=data_settings(self.data),
            render=render_settings(self.max_tokens),
            model=Model(path=str(self.path("model")), precision=self.precision),
            loss=Loss(weight_by="pair"),
            optim=Optim(lr=self.lr, schedule="constant", warmup=0.0),
            train=Train(batch_size=self.batch_size, max_steps=ENDLESS, device=self.device, threads=self.threads),
            eval=Eval(every=ENDLESS, train_probe=0),
            log=Log(every=1, samples=0),
        )


def read_trial(folder: str) -> Trial:
    """The trial that was saved in a folder."""
    return Trial(**json.loads((Path(folder) / "trial.json").read_text()))


def data_settings(file: str) -> Data:
    """All of a file for training, rows that cannot be used left out whatever their share: they are counted in print."""
    return Data(train=file, valid_share=0.0, max_rejected_share=0.999)


def render_settings(max_tokens: int) -> Render:
    """Comparisons above the limit leave."""
    return Render(max_tokens=max_tokens, over_long="drop")


def make_model(
    rows: Sequence[Comparison],
    shape: dict[str, Any],
    max_tokens: int,
    seed: int,
    folder: Path,
    precision: str = "float32",
) -> int:
    """Write a tokenizer learned from the rows and a model with drawn weights; the parameters that every token
    is multiplied with.

    Args:
        precision: what the model folder says it is to be scored in.
    """
    import torch

    from bradley.model.build import build_model
    from bradley.model.cost import matrix_weights
    from bradley.model.folder.save_load import save_model

    tokenizer = train_tokenizer(texts_of(rows[:TOKENIZER_ROWS]), VOCABULARY)
    longest = max(shape.get("max_position_embeddings", 0), max_tokens)
    config = {**shape, "max_position_embeddings": longest}
    settings = Model(config=config, tokenizer="train", precision=precision)
    model = build_model(settings, tokenizer, seed, torch.device("cpu"), max_tokens).model
    save_model(folder, model, Renderer(tokenizer, render_settings(max_tokens), causal=True), {})
    return matrix_weights(model.network)


def set_up(
    file: str, folder: Path, shape: dict[str, Any], max_tokens: int, judgments: int, **settings: Any
) -> tuple[Trial, TokenStore]:
    """Make everything the arms need.

    Args:
        max_tokens: limit of a response with its prompt (0: 1024 for pairs, 2048 for more responses than two).
        judgments: about how many a step is to hold.
        settings: the remaining fields of `Trial`.
    """
    rows = load_splits(data_settings(file), settings["seed"]).train
    limit = max_tokens or (2048 if max(len(row.responses) for row in rows) > 2 else 1024)
    parameters = make_model(rows, shape, limit, settings["seed"], folder / "model")
    renderer = Renderer(load_tokenizer(str(folder / "model")), render_settings(limit), causal=True)
    store = build_store(rows, renderer, training=True, cache=folder / "cache")
    each = len(store.better) / len(store)
    batch_size = max(1, round(judgments / each))
    trial = Trial(
        data=file,
        folder=str(folder),
        max_tokens=limit,
        batch_size=batch_size,
        step_judgments=max(1, round(batch_size * each)),
        parameters=parameters,
        **settings,
    )
    trial.save()
    return trial, store


def every_judgment(store: TokenStore, chosen: np.ndarray) -> list[tuple[int, int, int]]:
    """The judgments of some comparisons as (comparison, better, worse); ties aside, which no pair can say."""
    return [
        (int(g), int(store.better[j]), int(store.worse[j]))
        for g in chosen
        for j in range(int(store.first_judgment[g]), int(store.first_judgment[g + 1]))
        if store.probability[j] != 0.5
    ]


def write_pairs(store: TokenStore, judgments: Sequence[tuple[int, int, int]], folder: Path) -> None:
    """Judgments as a dataset of tokenised pairs in the columns that TRL trains on, and the longer side's `length`."""
    import datasets
    import pyarrow

    chosen = [store.response_ids(g, better) for g, better, _ in judgments]
    rejected = [store.response_ids(g, worse) for g, _, worse in judgments]
    lengths = [max(len(one), len(other)) for one, other in zip(chosen, rejected, strict=True)]
    columns = {"chosen_ids": _lists(chosen), "rejected_ids": _lists(rejected), "length": pyarrow.array(lengths)}
    datasets.disable_progress_bars()
    datasets.Dataset(pyarrow.table(columns)).save_to_disk(folder)


def _lists(rows: Sequence[np.ndarray]) -> Any:
    import pyarrow

    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    values = np.concatenate(rows).astype(np.int32)
    return pyarrow.ListArray.from_arrays(pyarrow.array(offsets, pyarrow.int32()), pyarrow.array(values))
