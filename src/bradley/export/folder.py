"""`bradley export`: a trained model as a folder giving the scores of training in any loader, or no folder at all."""

import contextlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from ..common.files import disk_errors, replace_folder, write_text
from ..common.lock import place_lock
from ..common.ownership import named, real_path, refuse_filled, refuse_input_as_output, refuse_inside
from ..common.version import version
from ..errors import CheckpointError, UserError
from ..model.finite import is_finite
from ..model.folder.card import CARD, FLOAT32, MODEL_MARK, hash_files, read_card, write_card
from ..model.folder.parity import Conversation, measure
from ..model.folder.save_load import DTYPES, Loaded, load_model, write_templates
from ..model.folder.tolerance import Check, compare
from ..model.folder.weights import save_network
from ..model.reward import is_head_weight
from ..model.weight_files import ADAPTER_CONFIG
from ..runs.layout import METRICS, MODEL, PLOTS, RESULTS, RUN_MARKS
from ..runs.run import RunFolder, read_run
from ..verify import failure, verify
from .chat_template import check_clock, check_ids, find_written_ending, frozen_chat_template
from .metadata import server_config, tokenizer_config, without_local_paths
from .model_card import EXAMPLE, model_card

TOKENIZER_CONFIG = "tokenizer_config.json"
FIGURES = "figures"
"""Folder of the pictures inside an export."""
PICTURES = ("training", "scores", "calibration", "lengths")
"""Figures of a run shown by the model card, if present."""
Json = dict[str, Any]


class Exported(NamedTuple):
    """A written and verified export.

    Attributes:
        folder: the exported folder.
        dtype: dtype of the weights of the backbone; the score head is always float32.
        merged: True if adapters were merged into the weights.
        largest_difference: largest difference between scores of the parity sample after export and in training.
        tolerance: largest difference explained by rounding.
        checks: results of the checks in a fresh process.
    """

    folder: Path
    dtype: str
    merged: bool
    largest_difference: float
    tolerance: float
    checks: list[Check]

    def to_json(self) -> Json:
        """Convert to plain values ready for JSON."""
        checks = [{**check._asdict(), "passed": check.passed} for check in self.checks]
        return {**self._asdict(), "folder": str(self.folder), "checks": checks}


def export_model(
    run: Path | str,
    folder: Path | str,
    *,
    dtype: Literal["float32", "bfloat16"] = "float32",
    adapter: bool = False,
    place: str = "",
    trust_remote_code: bool = False,
    base: str = "",
    accept_edits: bool = False,
) -> Exported:
    """Write a trained model as a folder for transformers and servers; whole, or not at all.

    Args:
        run: a run folder, or a model folder.
        folder: folder to write; must be empty or absent.
        dtype: dtype of the weights of the backbone, `float32` or `bfloat16`.
        adapter: True writes the adapters alone, for PEFT, instead of merging adapters into the base.
        place: name for loading the model in the model card; the default is the name of the folder.
        trust_remote_code: True runs the model code named by the folder.
        base: place of the base model of an adapter, if moved since the run.
        accept_edits: True exports a model folder with files edited since saving, and logs their names.

    Raises:
        UserError: the dtype is unknown, or the chat template writes today's date. Also raised if `adapter` meets a
            model without an adapter, or a dtype other than float32.
        RunFolderError: `folder` holds files, is a link, lies in a run or model folder, or is being written by another
            process.
        CheckpointError: no model found, the model cannot score, or the written folder gives other scores.
        DiskError: the folder cannot be written.

    Example:

        import bradley

        exported = bradley.export_model("runs/first", "exported/first", dtype="bfloat16")
        print(exported.largest_difference, exported.tolerance)
    """
    folder = named(folder)
    _check_request(dtype, adapter)
    with disk_errors(folder, "read"):
        # The name of the present folder is needed for a draft beside it.
        folder = folder if folder.name not in ("", "..") else real_path(folder)
        refuse_input_as_output(folder, [run, base])
        refuse_inside(folder, (*RUN_MARKS, MODEL_MARK))
        refuse_filled(folder)
    with place_lock(folder) as lock:
        # Another export may have ended since the first look.
        refuse_filled(folder)
        source = _open(Path(run), dtype, adapter, trust_remote_code, base, accept_edits)
        _freeze(source)
        # The folder is filled and verified under a temporary name: a failed check leaves nothing behind.
        written: list[Exported] = []
        place = place or real_path(folder).name
        replace_folder(
            folder, lambda target: written.append(_fill(target, source, folder, place)), (), str(lock.owner["token"])
        )
    return written[0]


def describe(exported: Exported, url: str = "") -> str:
    """Format an export as a few lines, with the URL of an upload if given."""
    lines = [
        ("exported", str(exported.folder)),
        ("weights", exported.dtype + (", adapters folded in" if exported.merged else "")),
        ("scores", f"up to {exported.largest_difference:.0e} from training, {exported.tolerance:.0e} allowed"),
        ("verified", f"{len(exported.checks)} checks in a fresh process passed; `bradley verify` shows each"),
        *([("hub", url)] if url else []),
    ]
    return "\n".join(f"{name:<12} {text}" for name, text in lines)


def _last_checkpoint(run: Path) -> str:
    """Return words for the newest checkpoint of a run folder; '' without a checkpoint."""
    steps = sorted(path.parent for path in run.glob(f"checkpoints/*/{CARD}"))
    return f" such as {steps[-1]}" if steps else ""


def find_model(run: Path) -> tuple[Path, Path | None]:
    """Find the model folder of a path, and the run folder around the model folder, if any.

    Raises:
        CheckpointError: neither the path nor its folder `model` holds a `bradley.json`.
    """
    inside = run / MODEL
    model = inside if (inside / CARD).is_file() else run
    if not (model / CARD).is_file():
        raise CheckpointError(
            f"{run} holds no model: there is neither {CARD} nor model/{CARD}",
            f"give a finished run folder, or a model folder{_last_checkpoint(run)}",
        )
    # A model folder copied elsewhere may lie in a folder of any kind; metrics tell a run folder from others.
    around = real_path(model).parent
    known = model.name == MODEL and (around / METRICS).is_file()
    return model, around if known else None


class ExportSource(NamedTuple):
    """Source and options of an export.

    Attributes:
        folder, loaded, card: the model folder, the model loaded from the folder, and the content of `bradley.json`.
        run: the run around the model folder, if known.
        dtype, adapter, trust, base: as for `export_model`; `trust` is `trust_remote_code`.
    """

    folder: Path
    loaded: Loaded
    card: Json
    run: RunFolder | None
    dtype: str
    adapter: bool
    trust: bool
    base: str

    @property
    def base_of_written(self) -> str:
        """Place of the base model for loading the export: `base` for an adapter, "" for a full model."""
        return self.base if self.adapter else ""


def _check_request(dtype: str, adapter: bool) -> None:
    if dtype not in DTYPES:
        raise UserError(f"the dtype {dtype!r} is unknown, wanted {' or '.join(DTYPES)}", "use --dtype float32")
    if adapter and dtype != FLOAT32:
        raise UserError(f"--adapter with --dtype {dtype}: adapters are float32 always", "leave one of them out")


def _open(run: Path, dtype: str, adapter: bool, trust: bool, base: str, accept_edits: bool) -> ExportSource:
    """Load the model, its card and its run, and refuse models without a parity sample."""
    model, around = find_model(run)
    card = read_card(model, accept_edits=accept_edits)
    if not card.get("parity", {}).get("rows"):
        raise CheckpointError(
            f"{model} has no parity sample, so nothing could prove what is exported",
            "train again with a few rows within the limits; early models have none",
        )
    loaded = load_model(model, engine="plain", trust_remote_code=trust, base=base, accept_edits=accept_edits)
    if adapter and "adapter" not in card:
        raise UserError(f"--adapter is given, and {model} has no adapter", "leave --adapter out")
    return ExportSource(model, loaded, card, read_run(around) if around else None, dtype, adapter, trust, base)


def _freeze(source: ExportSource) -> None:
    """Replace the chat template of the tokenizer by a frozen template, checked against the ids of the parity sample."""
    renderer = source.loaded.renderer
    # Rows of token ids were never rendered, so no template can be checked against them.
    rows = [row for row in source.card["parity"]["rows"] if all(turn["role"] != "ids" for turn in row["messages"])]
    template = frozen_chat_template(renderer, kind=source.loaded.kind)
    tool_use = template
    renderer.tokenizer.chat_template = template
    if renderer.tool_template is not None:
        # Under the names of transformers, which then chooses as training did.
        tool_use = frozen_chat_template(renderer, renderer.tool_template)
        renderer.tokenizer.chat_template = {"default": template, "tool_use": tool_use}
    for row in rows:
        used = tool_use if row.get("args", {}).get("tools") is not None else template
        check_clock(used, row, dict(renderer.tokenizer.special_tokens_map))
    check_ids(renderer.tokenizer, rows)


def _fill(target: Path, source: ExportSource, folder: Path, place: str) -> Exported:
    """Write all files of an export into the temporary folder `target`, and verify the result."""
    _write_weights(target, source)
    renderer = source.loaded.renderer
    _write_tokenizer(target, renderer.tokenizer)
    # The frozen template serves other programs; bradley itself reads the original template beside its settings.
    write_templates(target, renderer)
    exported = _measured(target, source)
    figures = _copy_figures(target, source.run)
    kind = source.loaded.model.network.config.model_type
    write_text(target / "README.md", model_card(read_card(target), source.run, place, figures, kind))
    return exported._replace(folder=folder, checks=_proven(target, folder, source))


def _write_tokenizer(target: Path, tokenizer: Any) -> None:
    """Write the tokenizer, readable by transformers 4 and 5."""
    tokenizer.save_pretrained(target)
    path = target / TOKENIZER_CONFIG
    config = tokenizer_config(json.loads(path.read_text(encoding="utf-8")))
    write_text(path, json.dumps(config, indent=2, ensure_ascii=False, sort_keys=True) + "\n")


def _write_weights(target: Path, source: ExportSource) -> None:
    """Write the weights, and the `config.json` of a full model."""
    # Adapter files are copied byte for byte; saving again could only change them.
    if source.adapter:
        for name in (ADAPTER_CONFIG, *source.card["weights_sha256"]):
            shutil.copyfile(source.folder / name, target / name)
        return
    network = source.loaded.model.network
    if "adapter" in source.card:
        from ..model.adapters import merged

        network = merged(network)
    cast_body(network, DTYPES[source.dtype])
    save_network(network, target)
    inner = network.config.get_text_config()
    text = next((key for key, value in vars(network.config).items() if value is inner), "")
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    measured = source.card.get("normalization")
    config = server_config(config, text=text, pad=inner.pad_token_id, dtype=source.dtype, normalization=measured)
    write_text(target / "config.json", json.dumps(config, indent=2) + "\n")
    # Frees the memory for the model loaded next. From here on only the written files count.
    network.to("meta")


def cast_body(network: Any, dtype: torch.dtype) -> None:
    """Round every weight outside the score head to `dtype`, in place.

    Raises:
        CheckpointError: a weight is beyond the largest number of the dtype.
    """
    for name, weight in network.named_parameters():
        if is_head_weight(network, name):
            continue
        weight.data = weight.data.to(dtype)
        # The weight was finite: loading has looked at every number.
        if not is_finite(weight):
            raise CheckpointError(
                f"{name} has numbers beyond {torch.finfo(dtype).max:.3g}, the largest of {dtype}", "use --dtype float32"
            )


def _measured(target: Path, source: ExportSource) -> Exported:
    """Score the parity sample with the written weights, compare with training, and write the card with the new scores.

    Raises:
        CheckpointError: the scores differ by more than rounding explains.
    """
    known = source.card["parity"]["rows"]
    card = without_local_paths({key: value for key, value in source.card.items() if source.adapter or key != "adapter"})
    card |= hash_files(target)
    # Loading needs a card. The second write, below, adds the scores measured with this first card.
    write_card(target, card)
    loaded = load_model(target, engine="plain", trust_remote_code=source.trust, base=source.base_of_written)
    parity = measure(loaded.model, [Conversation(row["messages"], row["ids"], row.get("args", {})) for row in known])
    before, after = (_float32_scores(rows) for rows in (known, parity["rows"]))
    layers = loaded.model.network.config.get_text_config().num_hidden_layers
    check = compare("the exported weights", after, before, source.dtype, layers)
    if not check.passed:
        raise CheckpointError(
            f"the exported weights score the parity sample up to {check.largest:.1e} from training, and rounding to "
            f"{source.dtype} explains {check.allowed:.1e}",
            "use --dtype float32" if source.dtype != FLOAT32 else f"type `bradley verify {source.folder}`",
        )
    folded = "adapter" in source.card and not source.adapter
    ending = find_written_ending(source.loaded.renderer.tokenizer, known)._asdict()
    facts = {"merged": folded, "largest_difference": check.largest, "tolerance": check.allowed, "ending": ending}
    facts["example"] = _example_scores(loaded, source.loaded)
    write_card(target, {**card, "parity": parity, "export": {"bradley": version(), "dtype": source.dtype, **facts}})
    return Exported(target, source.dtype, folded, check.largest, check.allowed, [])


def _example_scores(written: Loaded, trained: Loaded) -> list[float] | None:
    """Score the example of the model card in float32, so that a reader without bradley can check a program.

    None for a model of token ids, and for a chat template that refuses the example.
    """
    from jinja2 import TemplateError

    if trained.kind == "ids":
        return None
    question, answers = EXAMPLE
    sample = []
    for answer in answers:
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        try:
            ids = trained.renderer.tokenizer.apply_chat_template(turns, return_dict=True)["input_ids"]
        except TemplateError:
            return None
        sample.append(Conversation(turns, ids))
    return _float32_scores(measure(written.model, sample)["rows"])


def _float32_scores(rows: Sequence[Json]) -> list[float]:
    # Cards of runs in bfloat16 hold a second score in float32 arithmetic, comparable across libraries.
    return [row[FLOAT32] if FLOAT32 in row else row["score"] for row in rows]


def _copy_figures(target: Path, run: RunFolder | None) -> list[str]:
    """Copy figures and results of a run; return the paths of the figures inside the folder."""
    if run is None:
        return []
    # A run stopped before its end has no results.
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(run.folder / RESULTS, target / RESULTS)
    pictures = [path for name in PICTURES if (path := run.folder / PLOTS / f"{name}.png").is_file()]
    for picture in pictures:
        (target / FIGURES).mkdir(exist_ok=True)
        shutil.copyfile(picture, target / FIGURES / picture.name)
    return [f"{FIGURES}/{picture.name}" for picture in pictures]


def _proven(target: Path, folder: Path, source: ExportSource) -> list[Check]:
    """Verify the written folder in a fresh process; errors name `folder`, the final place."""
    # In this process, settings and patches of bradley could make a broken folder look sound.
    checks = verify(target, trust_remote_code=source.trust, base=source.base_of_written)
    if (error := failure(folder, checks)) is not None:
        hint = "nothing was written; `bradley verify` tells whether the model that was trained is sound"
        raise CheckpointError(error.message, hint)
    return checks
