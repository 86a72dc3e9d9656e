"""Hashes of a model folder: the card, `bradley.json`, holds SHA-256 of every file believed later, and of the card.

Rule: each file written and later believed by bradley has a recorded hash. An edited, swapped, damaged, missing or
added file is named and refused, or accepted on request, in words.
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NotRequired

from typing_extensions import TypedDict

from ..errors import CheckpointError, UserError
from .console import Console
from .files import sha256
from .json_files import read_json, with_hash
from .model_files import file_errors
from .ownership import Mark
from .text import and_more

CARD = "bradley.json"
OWN_FILES = ("bradley_template.jinja", "bradley_tool_template.jinja")
"""Chat templates of a model folder of ours: without its card such a folder is incomplete."""
MODEL_MARK = Mark(CARD, frozenset({"weights_sha256"}))
"""File by which a folder is known as a model of ours."""
WEIGHTS, FILES, ITSELF = "weights_sha256", "files_sha256", "card_sha256"
"""Entries of a card: hashes of the weight files, of the other files, and of the card without this entry."""
BELIEVED_NAMES = {
    *("config.json", "generation_config.json", "adapter_config.json", "chat_template.json", "vocab.json", "vocab.txt"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt"),
    *("processor_config.json", "preprocessor_config.json"),
}
BELIEVED_ENDINGS = (".jinja", ".model", ".tiktoken", ".index.json", ".py")
"""Names and endings of files that a loader reads; other files of a folder, such as `README.md`, decide no score."""
HARMLESS = (".py", "generation_config.json", "processor_config.json", "preprocessor_config.json")
"""Endings of believed files that change nothing when added: no code runs that the signed config does not name."""
TOKENIZER_FILES = BELIEVED_NAMES - {"config.json", "generation_config.json", "adapter_config.json"}
"""Files of a tokenizer; the vocabulary of some has an ending instead, see `BELIEVED_ENDINGS`."""
COPY = "copy the whole model folder again"
MISSING = "(missing)"
OWN_EDIT = f"to train from the edited folder as from any other model, remove its {CARD}"
"""Way to accept an edit of a base model."""
ACCEPT = "for an edit on purpose use --accept-edits (in Python accept_edits=True)"


class Signed(TypedDict):
    """The hashes in a card; a card from before these hashes has none."""

    weights_sha256: NotRequired[dict[str, str]]
    files_sha256: NotRequired[dict[str, str]]
    card_sha256: NotRequired[str]


log = logging.getLogger("bradley")
said: set[str] = set()
"""Lines said by this process; each is said once."""


def say_once(line: str) -> None:
    """Log a warning, unless this process has said the same line before."""
    if line not in said:
        said.add(line)
        log.warning("%s", line)


def refuse_run_folder(folder: Path) -> None:
    """Raise `CheckpointError` for a run folder in place of the model folder inside; the hint names the model."""
    inside = [path.parent for place in ("model", "checkpoints/*") for path in folder.glob(f"{place}/{CARD}")]
    if not (folder / CARD).exists() and inside:
        raise CheckpointError(f"{folder} is a run folder, and a model folder is wanted", f"give {sorted(inside)[-1]}")


def model_inside(folder: Path, console: Console) -> Path:
    """Return the best model of a finished run folder, and say which; any other folder is returned as given.

    Raises:
        CheckpointError: a run folder without a finished model.
    """
    inside = folder / "model"
    if (folder / CARD).exists() or not (inside / CARD).is_file():
        refuse_run_folder(folder)
        return folder
    console.say(f"{folder} is a run: scoring with its best model, {inside}")
    return inside


def is_foreign(folder: Path) -> bool:
    """Return True for the model folder of another trainer: no card, and no template that ours leave beside a card."""
    known = any((folder / name).exists() for name in (CARD, *OWN_FILES))
    return folder.is_dir() and not known and any(folder.glob("*config.json"))


def refuse_assumed(folder: Path, assumed: Mapping[str, str]) -> None:
    """Raise `UserError` for assumptions, by name, about a folder whose card says the same things."""
    if name := next((name for name, value in assumed.items() if value), ""):
        raise UserError(f"{name} is given, and {folder / CARD} says how the model reads its texts", f"leave {name} out")


def hash_files(folder: Path) -> dict[str, dict[str, str]]:
    """Compute the entries `weights_sha256` and `files_sha256` of a card: SHA-256 of each believed file, by name."""
    weights = {path.name: sha256(path) for path in sorted(folder.glob("*.safetensors"))}
    return {WEIGHTS: weights, FILES: {name: sha256(folder / name) for name in believed(folder)}}


def believed(folder: Path) -> list[str]:
    """List the believed files of a folder but for weights and card, by path below the folder."""
    # Templates of other names lie one folder below.
    found = (path for pattern in ("*", "*/*.jinja") for path in folder.glob(pattern) if path.is_file())
    names = {path.relative_to(folder).as_posix() for path in found if not path.name.startswith(".")}
    return sorted(name for name in names if name in BELIEVED_NAMES or name.endswith(BELIEVED_ENDINGS))


def unlike_saved(folder: Path) -> list[str]:
    """List the files of a saved model folder that are not as saved: edited, or put there by somebody else.

    Hidden files, which systems put into folders, do not count; nor do weight files of the card, which nobody edits by
    hand.

    Raises:
        CheckpointError: a file may not be read, or the card is broken.
    """
    card = read_json(folder / CARD, Signed, hint=COPY)
    known, weights = card.get(FILES, {}), card.get(WEIGHTS, {})
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    found = sorted(name for name in names - {CARD, *weights} if not name.rpartition("/")[2].startswith("."))
    with file_errors(folder):
        return [*card_edits(card), *(name for name in found if sha256(folder / name) != known.get(name))]


def sign(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return a card with the hash of its content, in place of an earlier hash."""
    return with_hash(card, ITSELF)


def card_edits(card: Mapping[str, Any]) -> list[str]:
    """Return the name of the card if its content has another hash than the hash inside; [] for a card without hashes.

    A card from before these hashes lacks both entries. A card with one of the two was edited.
    """
    unsigned = FILES not in card and ITSELF not in card
    return [] if unsigned or card.get(ITSELF) == sign(card)[ITSELF] else [f"{CARD} (edited)"]


def file_edits(folder: Path, card: Mapping[str, Any], only: Collection[str] = ()) -> list[str]:
    """List the differences between the files of a folder and a card, other than the content of weights.

    Args:
        only: names to compare, besides files with an ending of `BELIEVED_ENDINGS`; () compares all, and the names of
            weight files.

    Raises:
        CheckpointError: a file may not be read.
    """
    if FILES not in card:
        return []
    known: dict[str, str] = card[FILES]
    found = believed(folder)
    wanted = [name for name in sorted({*known, *found}) if not only or name in only or name.endswith(BELIEVED_ENDINGS)]
    edits = [_edit(folder, name, known.get(name), name in found) for name in wanted]
    if not only:
        weights = {path.name for path in folder.glob("*.safetensors")}
        edits += [f"{name} {MISSING}" for name in sorted(card.get(WEIGHTS, {}).keys() - weights)]
        edits += [f"{name} (added)" for name in sorted(weights - card.get(WEIGHTS, {}).keys())]
    return [edit for edit in edits if edit]


def _edit(folder: Path, name: str, known: str | None, there: bool) -> str:
    if known is None:
        return "" if name.endswith(HARMLESS) else f"{name} (added)"
    if not there:
        return f"{name} {MISSING}"
    with file_errors(folder / name, COPY):
        return "" if sha256(folder / name) == known else f"{name} (edited)"


def refuse_edits(folder: Path, edits: Iterable[str], accepted: bool, hint: str = ACCEPT) -> None:
    """Raise `CheckpointError` naming the edits of a folder; accepted edits are said instead.

    Args:
        hint: way to accept an edit; few loaders do without a missing file, so such a folder is to be copied.
    """
    listed = list(edits)
    if not listed:
        return
    what = f"not as bradley saved it: {and_more(listed, 5)}"
    lacks = any(edit.endswith(MISSING) for edit in listed)
    if not accepted:
        raise CheckpointError(f"the model folder {folder} is {what}", COPY if lacks else f"{COPY}; {hint}")
    say_once(f"warning: the model folder {folder} is {what}; accepted, so the scores may be others")


def check_signed(
    folder: Path, card: Mapping[str, Any], only: Collection[str] = (), *, accepted: bool = False, hint: str = ACCEPT
) -> None:
    """Check a card, and the files of its folder other than the content of weights, against the hashes of the card.

    A folder written before these hashes is accepted, which is said once. `hint` is the way to accept an edit.

    Raises:
        CheckpointError: an edited, swapped, damaged, missing or added file.
    """
    if FILES not in card and ITSELF not in card:
        say_once(f"warning: the model folder {folder} is older than the hashes of model files, and is not checked")
    refuse_edits(folder, [*card_edits(card), *file_edits(folder, card, only)], accepted, hint)
