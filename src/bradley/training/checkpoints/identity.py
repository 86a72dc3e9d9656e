"""What makes a run this run: hashes and settings that are compared when it goes on."""

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ...common.text import nearest
from ...common.version import version
from ...config import Config, Section
from ...data.load import Splits
from ...data.render import Renderer
from ...data.token_store import TokenStore
from ...errors import UserError
from ...model.folder.parity import Conversation, draw
from ...model.folder.save_load import rendering_hashes
from ...model.reward import ScoreModel, compute_name
from ...model.weight_files import weights_hash
from ...runs.layout import SELECTION
from ..distributed.consistency import code_hash

COUNTS = ("rows", "comparisons", "judgments", "responses", "prompts")
LEFT_OUT = ("mixed_away", "capped_away", "grouped_away", "sampled_away")
TRAINED_ON = ("tokens", "segments", "first_response", "better", "worse", "probability", "margin", "weight", "rank")
"""Arrays of a store that decide what is learned from it."""


class Provenance(NamedTuple):
    """What a model folder says of its origin, the same at every step of a run.

    Attributes:
        facts: fields of its card: `versions`, `data`, `config`.
        sample: conversations whose scores go into the card.
    """

    facts: dict[str, Any]
    sample: list[Conversation]


def provenance(config: Config, splits: Splits, renderer: Renderer, train: TokenStore) -> Provenance:
    """The origin of a run's models; the sample is of the validation set, or of training where there is none."""
    data = {
        "train_sha256": trained_on(train),
        "splits": {name: short_report(split) for name, split in splits.report["splits"].items() if "rows" in split},
    }
    facts = {"versions": versions(), "data": data, "config": config.model_dump(mode="json")}
    return Provenance(facts, draw(splits.evals.get(SELECTION, splits.train), renderer, config.seed))


def versions() -> dict[str, str]:
    """Of bradley and what computes scores for it."""
    import transformers

    return {
        "bradley": version(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def short_report(split: dict[str, Any]) -> dict[str, Any]:
    """A split of the data report in a few numbers: counts, comparisons left out by reason, and each source."""
    reasons = {reason: entry["count"] for reason, entry in split["rejected"].items()}
    reasons |= {check: finding["dropped"] for check, finding in split["findings"].items()}
    reasons |= {reason: split[reason] for reason in LEFT_OUT}
    reasons |= {cause: row["dropped"] for cause, row in split.get("tokens", {}).get("ledger", {}).items()}
    return {
        **{count: split[count] for count in COUNTS},
        "left_out": {reason: count for reason, count in reasons.items() if count},
        "sources": split["sources"],
    }


def trained_on(store: TokenStore) -> str:
    """SHA-256 of what a store teaches: its token ids, and what was judged of them."""
    digest = hashlib.sha256()
    for name in TRAINED_ON:
        array = np.ascontiguousarray(getattr(store, name))
        digest.update(f"{name} {array.dtype} {len(array)}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


FREE = ("hub", "checkpoint", "train.stop_after", "train.time_limit", "train.threads", "log.project", "parallel")
"""Settings, or sections of them, that a run may change when it goes on: no number of it depends on them."""
CIRCUMSTANCES = ("threads", "versions", "code", "hardware", "sums")
"""What may differ when a run goes on, in rounding at most: said and recorded, and refused if `checkpoint.exact`."""


def identity(
    config: Config, data: Mapping[str, TokenStore], renderer: Any, model: ScoreModel, order: str
) -> dict[str, dict[str, Any]]:
    """Everything that decides the numbers of a run, by field.

    Args:
        data: the token store of every split, by name.
        order: in which gradients are added up, see `Team.order`.
    """
    base = weights_hash(config.model.path, config.model.revision) if config.model.path else "built from model.config"
    cuda = model.device.type == "cuda"
    hardware = (
        torch.cuda.get_device_name() if cuda else f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    )
    return {
        "config": dict(settings_that_count(config)),
        "data": {name: trained_on(store) for name, store in data.items()},
        "tokenizer": rendering_hashes(renderer),
        "base": {"weights": base},
        "dtype": {"compute": compute_name(model)},
        "threads": {"number": torch.get_num_threads()},
        "sums": {"order": order},
        "versions": versions(),
        "code": {"sha256": code_hash()},
        "hardware": {"device": f"{model.device.type}: {hardware}"},
    }


def settings_that_count(section: Section, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by dotted name, as values of JSON, without those that are `FREE`."""
    for key in type(section).model_fields:
        name, value = prefix + key, getattr(section, key)
        if name in FREE:
            continue
        if isinstance(value, Section):
            yield from settings_that_count(value, f"{name}.")
        else:
            yield name, json.loads(json.dumps(value))


def differences(before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What differs: name -> [before, now]; a setting by its own name, anything else as `data.valid`."""
    changed = {}
    for field in before.keys() | now.keys():
        old, new = before.get(field, {}), now.get(field, {})
        for key in old.keys() | new.keys():
            if old.get(key) != new.get(key):
                changed[key if field == "config" else f"{field}.{key}"] = [old.get(key), new.get(key)]
    return dict(sorted(changed.items()))


def check_identity(
    before: Mapping[str, Any], now: Mapping[str, Any], allowed: Sequence[str], *, exact: bool
) -> dict[str, Any]:
    """What differs and may, as `differences` gives it.

    Args:
        allowed: names of fields that may differ, each as `differences` names it or a part before a dot.
        exact: whether circumstances count like everything else.

    Raises:
        UserError: something differs that may not, one line for each field; or no field is called so.
    """
    known = {name for one in (before, now) for name in names_of(one)}
    for name in allowed:
        if name not in known:
            guess = nearest(name, known)
            raise UserError(
                f"--allow-change {name}: no such field", f"did you mean {guess}?" if guess else "see run.json"
            )
    changed = differences(before, now)
    free = set(allowed) if exact else {*allowed, *CIRCUMSTANCES}
    refused = {name: pair for name, pair in changed.items() if not free & set(parents(name))}
    if refused:
        lines = [f"{name} was {shown(old)}, and is {shown(new)} now" for name, (old, new) in refused.items()]
        raise UserError(
            "\n".join(["this is not the run that was begun here:", *lines]),
            f"give the same settings and data, another --output, or --allow-change {','.join(refused)}",
        )
    return changed


def names_of(one: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Every name that may stand in `--allow-change`."""
    for field, values in one.items():
        for key in values:
            yield from parents(key if field == "config" else f"{field}.{key}")


def parents(name: str) -> list[str]:
    """`a.b.c` -> `a`, `a.b`, `a.b.c`."""
    parts = name.split(".")
    return [".".join(parts[: n + 1]) for n in range(len(parts))]


def shown(value: Any) -> str:
    """A value for a message: hashes cut, texts as they are."""
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{text[:12]}..." if len(text) == hashlib.sha256().digest_size * 2 else text
