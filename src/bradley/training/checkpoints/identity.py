"""Identity of a run: hashes and settings, compared at a resume; and the provenance in the card of every model."""

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
from ...config.fields import settings_of
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
LEFT_OUT = ("mixed_away", "gathered_away", "capped_away", "grouped_away", "sampled_away")
TRAINED_ON = ("tokens", "segments", "first_response", "better", "worse", "probability", "margin", "weight", "rank")
"""Arrays of a token store with an influence on training."""
SEVERAL_PREFIXES = ("own", "prefix")
"""Arrays that say more only of a store with several prefixes in a comparison."""
RULES = {"cuts": "conversation"}
"""Rules of this version that decide about token ids, besides the settings."""
OTHER_CUTS = (
    "the run was begun by a version that cut a prompt for the longest response of the comparison; this version cuts "
    "each conversation by itself, and so other data where a limit cuts"
)
ADDED = ("labels", "rules")
"""Fields missing in the records of earlier versions, and compared only if both records have the field."""
FREE = (
    *(
        "hub",
        "checkpoint",
        "train.stop_after",
        "train.time_limit",
        "train.threads",
        "log.project",
        "log.figures",
        "parallel",
    ),
    "render.max_unread",
)
"""Settings, or sections of settings, free to change at a resume: no number of the run depends on these settings."""
CIRCUMSTANCES = ("threads", "versions", "code", "hardware", "sums")
"""Fields that may differ at a resume and change rounding at most: reported and recorded, and refused if
`checkpoint.exact`.
"""


def identity(
    config: Config, data: Mapping[str, TokenStore], renderer: Any, model: ScoreModel, order: str
) -> dict[str, dict[str, Any]]:
    """Collect everything with an influence on the numbers of a run, by field.

    Args:
        config: settings of the run.
        data: token store of every split, by name.
        renderer: the tokenizer and chat template.
        model: of the run.
        order: order in which gradients are summed, see `Strategy.order`.
    """
    base = weights_hash(config.model.path, config.model.revision) if config.model.path else "built from model.config"
    cuda = model.device.type == "cuda"
    # The CPU's instruction set counts: other vector widths sum in another order.
    hardware = (
        torch.cuda.get_device_name() if cuda else f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    )
    return {
        "config": dict(settings_that_count(config)),
        "data": {name: trained_on(store) for name, store in data.items()},
        "labels": {name: labels_of(store) for name, store in data.items()},
        "rules": RULES,
        "tokenizer": rendering_hashes(renderer),
        "base": {"weights": base},
        "dtype": {"compute": compute_name(model)},
        "threads": {"number": torch.get_num_threads()},
        "sums": {"order": order},
        "versions": versions(),
        "code": {"sha256": code_hash()},
        "hardware": {"device": f"{model.device.type}: {hardware}"},
    }


def check_identity(
    before: Mapping[str, Any], now: Mapping[str, Any], allowed: Sequence[str], *, exact: bool
) -> dict[str, Any]:
    """Check that a resume continues the same run, and return the allowed differences, see `differences`.

    Args:
        before: identity in the record of the run.
        now: identity of the resumed run.
        allowed: names of `differences`, or parts of names before a dot, that may differ.
        exact: True to refuse a difference in `CIRCUMSTANCES`, too.

    Raises:
        UserError: a field differs without permission, with a line for each such field; or an allowed name is unknown.
    """
    # A misspelled name would allow nothing, and the error about the difference would not say why.
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
        # A record without the rules is of an earlier version, and nothing else may have changed.
        if "rules" not in before and any(name.startswith("data.") for name in refused):
            lines.append(OTHER_CUTS)
        raise UserError(
            ["this is not the run that was begun here:", *lines],
            f"give the same settings and data, another --output, or --allow-change {','.join(refused)}",
        )
    return changed


def differences(before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Compare two identities, as name -> [before, now].

    A setting has the dotted name of the setting, such as `optim.lr`; any other entry has the field in front, such as
    `data.valid`.
    """
    changed = {}
    for field in before.keys() | now.keys():
        if field in ADDED and not (field in before and field in now):
            continue
        old, new = dict(before.get(field, {})), now.get(field, {})
        if field == "config":
            # A record of an earlier version lacks later settings, which then had no other value than the default.
            defaults = {name: json.loads(json.dumps(each.default)) for name, each in settings_of(Config).items()}
            old = {**{key: defaults[key] for key in new if key in defaults}, **old}
        for key in old.keys() | new.keys():
            if old.get(key) != new.get(key):
                changed[key if field == "config" else f"{field}.{key}"] = [old.get(key), new.get(key)]
    return dict(sorted(changed.items()))


def settings_that_count(section: Section, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting but the `FREE` settings, as a dotted name and a JSON value."""
    for key in type(section).model_fields:
        name, value = prefix + key, getattr(section, key)
        if name in FREE:
            continue
        if isinstance(value, Section):
            yield from settings_that_count(value, f"{name}.")
        else:
            # The same value read back from `run.json` must compare equal, and JSON turns tuples into lists.
            yield name, json.loads(json.dumps(value))


def names_of(one: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield every name accepted by `--allow-change`, with repetitions."""
    for field, values in one.items():
        for key in values:
            yield from parents(key if field == "config" else f"{field}.{key}")


def parents(name: str) -> list[str]:
    """Split a dotted name into all leading parts: `a.b.c` -> `a`, `a.b`, `a.b.c`."""
    parts = name.split(".")
    return [".".join(parts[: n + 1]) for n in range(len(parts))]


def shown(value: Any) -> str:
    """Format a value for a message: hashes are shortened, other texts stay unchanged."""
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{text[:12]}..." if len(text) == hashlib.sha256().digest_size * 2 else text


class Provenance(NamedTuple):
    """Provenance recorded in the card of every model of a run, the same at every step.

    Attributes:
        facts: fields of the card: `versions`, `data`, `kind` (see `Ledger.kind`), `config`.
        sample: conversations whose scores go into the card, see `model.folder.parity`.
    """

    facts: dict[str, Any]
    sample: list[Conversation]


def provenance(config: Config, splits: Splits, renderer: Renderer, train: TokenStore) -> Provenance:
    """Collect the provenance of a run's models; the sample is drawn from the validation set, or else from training."""
    data = {
        "train_sha256": trained_on(train),
        "splits": {name: short_report(split) for name, split in splits.report["splits"].items() if "rows" in split},
    }
    # The same conversation as texts or as messages is two inputs: a later reader can tell which was trained.
    facts = {"versions": versions(), "data": data, "kind": train.ledger.kind, "config": config.model_dump(mode="json")}
    return Provenance(facts, draw(splits.evals.get(SELECTION, splits.train), renderer, config.seed))


def versions() -> dict[str, str]:
    """Return the versions of bradley, Python, torch and transformers."""
    import transformers

    return {
        "bradley": version(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def short_report(split: dict[str, Any]) -> dict[str, Any]:
    """Summarize a split of the data report: counts, comparisons left out by reason, and every source."""
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
    """Compute SHA-256 of everything in a token store with an influence on training: token ids and judgments."""
    digest = hashlib.sha256()
    # With a prefix for each comparison, the other arrays say all, and earlier versions of bradley had the same hash.
    several = store.first_segment[-1] > store.first_response[-1] + len(store)
    for name in (*TRAINED_ON, *(SEVERAL_PREFIXES if several else ())):
        array = np.ascontiguousarray(getattr(store, name))
        # Without names and lengths, a number moved from one array into the next would leave the hash unchanged.
        digest.update(f"{name} {array.dtype} {len(array)}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


def labels_of(store: TokenStore) -> str:
    """Compute SHA-256 of everything else in a store that the results show: ids, prompts, tags and the data's scores.

    Files and their places are left out: moved data are the same data.
    """
    digest = hashlib.sha256()
    for row in store.info:
        digest.update(f"{json.dumps([row.id, row.prompt_key, row.tags, row.source_scores])}\n".encode())
    return digest.hexdigest()
