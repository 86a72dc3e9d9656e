"""Class `configurations`: TOML files and options with wrong and extreme values at every setting, and broken TOML.

Harmless by declaration: a value of the right kind within the limits of a setting is a choice of the user, however odd.
A value of a kind that a setting does not take must never end with 0.
"""

import random
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from bradley.config import Config
from bradley.config.fields import Setting, settings_of
from tests.fuzz import files
from tests.fuzz.case import Case, Ended
from tests.fuzz.good import CONFIG, Good
from tests.fuzz.values import PLANTED, Raw

VALUES: dict[str, Any] = {
    "true": True,
    "zero": 0,
    "one": 1,
    "minus one": -1,
    "2^31": 2**31,
    "2^63 - 1": 2**63 - 1,
    "2^64": 2**64,
    "5,000 digits": Raw("9" * 5000),
    "a half": 0.5,
    "a fraction": 1.5,
    "a tiny number": 5e-324,
    "a huge number": 1e308,
    "NaN": Raw("nan"),
    "infinity": Raw("inf"),
    "-infinity": Raw("-inf"),
    "an empty text": "",
    "a text": "x",
    "a text of blanks": " \t",
    "a number as text": "7",
    "a truth value as text": "true",
    "an escape sequence": f"\x1b[2J\x07\nerror: {PLANTED}\nhint: {PLANTED}",
    "a reversed text": "\u202egnp.exe",
    "a long text": "y" * 200_000,
    "a way out": "../../near/mine.txt",
    "a module": "os:getcwd",
    "a date": Raw("2020-01-01"),
    "an empty list": [],
    "a list of numbers": [1, 2],
    "a list of texts": ["x", "y"],
    "a list of lists": [[]],
    "deep lists": Raw("[" * 3000 + "]" * 3000),
    "deep tables": Raw("{a=" * 3000 + "1" + "}" * 3000),
    "an empty table": {},
    "a table": {"a": 1},
    "a table of odd names": {"": 0, "a.b": "x", "\x1b[2J": 1},
}
"""Values of TOML by name."""
NUMBERS = (int, float)
NO_CODE = [name for name in VALUES if name != "a module"]
HARD = ("data.format", "hub.push")
"""Settings whose texts name code or a repository: code that a user names does run, so that no module is given there."""
ENTRIES = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size"),
    *("max_position_embeddings", "model_type", "vocab_size", "id2label", "label2id", "num_labels", "pad_token_id"),
    *(
        "attn_implementation",
        "_attn_implementation",
        "attention_dropout",
        "rope_scaling",
        "rope_theta",
        "rope_parameters",
    ),
    *("torch_dtype", "dtype", "tie_word_embeddings", "architectures", "auto_map", "quantization_config", "head_dim"),
    *("hidden_act", "rms_norm_eps", "use_cache", "problem_type", "initializer_range", "layer_types", "is_decoder"),
    *(
        "_name_or_path",
        "transformers_version",
        "return_dict",
        "output_attentions",
        "chunk_size_feed_forward",
        "attribute_map",
    ),
)
"""Keys of `model.config` that transformers reads."""
DOCUMENTS = {
    "a key of 10,000 parts": ".".join("a" * 10_000) + " = 1\n",
    "a section of 10,000 parts": f"[{'.'.join('a' * 10_000)}]\n",
    "deep lists": f"seed = {'[' * 50_000}{']' * 50_000}\n",
    "lists without end": f"seed = {'[' * 50_000}\n",
    "deep tables": f"seed = {'{a=' * 20_000}1{'}' * 20_000}\n",
    "a key of 100,000 letters": f"{'k' * 100_000} = 1\n",
    "10,000 unknown keys": "".join(f"k{number} = 1\n" for number in range(10_000)),
    "10,000 unknown sections": "".join(f"[s{number}]\n" for number in range(10_000)),
    "an escape sequence in a key": f'"\\u001b[2J\\nerror: {PLANTED}" = 1\n',
    "an escape sequence in a section": f'["\\u001b[2J\\nhint: {PLANTED}"]\nx = 1\n',
    "a section as a list": "[[train]]\nbatch_size = 1\n[[train]]\nbatch_size = 2\n",
    "a section as a value": "train = 3\n",
    "a section as an inline table": "train = {batch_size = 'x'}\n",
    "5 MB of comments": "# " + "c" * 5_000_000 + "\n",
    "a section twice": "[train]\n[train]\n",
    "a key twice": "seed = 1\nseed = 2\n",
    "a number of 100,000 digits": f"seed = {'9' * 100_000}\n",
    "a byte order mark": "\ufeff" + CONFIG,
    "JSON": '{"train": {"batch_size": 8}}',
    "nothing": "",
}
"""Whole files by name."""


def damage(rng: random.Random, number: int, world: Path, _good: Good) -> Case:
    """Make a case; every second one gives a wrong or extreme value to a setting, each setting in its turn."""
    if number % 2 == 0:
        settings = list(settings_of(Config).values())
        return setting_case(rng, world, settings[(number // 2) % len(settings)])
    make = rng.choices((entry_case, document_case, broken_case, several_case), (4, 2, 2, 2))[0]
    return make(rng, world)


def command(rng: random.Random, options: list[str], what: str) -> Case:
    """Make a case of a command that reads `config.toml`."""
    choice = rng.choices(("plan", "memory", "train"), (6, 3, 1))[0]
    if choice == "train":
        args = ["train", "config.toml", "--sanity", "--quiet", "--output", "../out/run", *options]
        return Case(args, f"{what}; train --sanity", patience=120.0)
    shown = [[], ["--json"]][rng.randrange(2)]
    args = ["plan", "config.toml", "--no-timing" if choice == "plan" else "--memory", *shown, *options]
    return Case(args, f"{what}; plan")


def refused(_ended: Ended, _world: Path) -> list[str]:
    """Judge a value that no setting of this kind takes."""
    return ["a value of the wrong kind is taken"]


def setting_case(rng: random.Random, world: Path, setting: Setting) -> Case:
    """Give one setting an odd value, in the file or as an option."""
    names = NO_CODE if setting.name in HARD else list(VALUES)
    # Every second value fits, so that more than the check of kinds is reached.
    fitting = [name for name in names if not unfit(setting.kind, VALUES[name])]
    name = rng.choice(fitting if fitting and rng.random() < 0.5 else names)
    value = VALUES[name]
    if get_origin(setting.kind) is Literal and rng.random() < 0.5:
        name = value = rng.choice(get_args(setting.kind))
    if rng.random() < 0.3:
        text = value if isinstance(value, str) else toml(value)
        case = command(rng, [f"--{setting.name}={text}"], f"--{setting.name} is {name}")
        return case._replace(judge=refused) if unfit_text(setting, text) else case
    write(world, {setting.name: value})
    case = command(rng, [], f"{setting.name} is {name}")
    return case._replace(judge=refused) if unfit(setting.kind, value) else case


def several_case(rng: random.Random, world: Path) -> Case:
    """Give several settings values at once: odd ones, or such as fit."""
    settings, fit = rng.sample(list(settings_of(Config).values()), rng.randrange(2, 6)), rng.random() < 0.7
    names = {}
    for setting in settings:
        kinds = [name for name in NO_CODE if not (fit and unfit(setting.kind, VALUES[name]))]
        names |= {setting.name: rng.choice(kinds)} if kinds else {}
    write(world, {setting: VALUES[name] for setting, name in names.items()})
    return command(rng, [], ", ".join(f"{setting} is {name}" for setting, name in names.items()))


def entry_case(rng: random.Random, world: Path) -> Case:
    """Give an entry of `model.config` an odd value; what transformers makes of it is declared harmless."""
    key, name = rng.choice(ENTRIES), rng.choice(list(VALUES))
    value = VALUES[name]
    if rng.random() < 0.3:
        text = value if isinstance(value, str) else toml(value)
        return command(rng, [f"--model.config.{key}={text}"], f"--model.config.{key} is {name}")
    write(world, {f"model.config.{key}": value})
    return command(rng, [], f"model.config.{key} is {name}")


def document_case(rng: random.Random, world: Path) -> Case:
    """Write an odd document."""
    name = rng.choice(list(DOCUMENTS))
    (world / "in" / "config.toml").write_text(DOCUMENTS[name], encoding="utf-8")
    return command(rng, [], name)


def broken_case(rng: random.Random, world: Path) -> Case:
    """Damage the bytes or the place of the file."""
    kinds = files.ANY if rng.random() < 0.5 else files.BYTES
    return command(rng, [], files.damage(rng, world / "in" / "config.toml", kinds))


def write(world: Path, values: dict[str, Any]) -> None:
    """Write `config.toml` with values by dotted name, as inline tables below each section."""
    table = tomllib.loads(CONFIG)
    for name, value in values.items():
        inner: Any = table
        *sections, last = name.split(".")
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict) or isinstance(inner, Raw):
                break
        else:
            inner[last] = value
    text = "".join(f"{_key(name)} = {toml(value)}\n" for name, value in table.items())
    (world / "in" / "config.toml").write_text(text, encoding="utf-8")


def toml(value: Any) -> str:
    """Write a value as TOML."""
    if isinstance(value, Raw):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _key(value, bare=False)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(name)} = {toml(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return repr(value)


def _key(text: str, bare: bool = True) -> str:
    """Quote a text, if it is no bare key."""
    if bare and text and text.replace("_", "a").isascii() and text.replace("_", "a").isalnum():
        return text
    escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\u{ord(c):04x}" for c in text)
    return f'"{escaped}"'


def unfit(kind: Any, value: Any) -> bool:
    """Tell if a value of TOML can never be a value of a type of settings."""
    origin = get_origin(kind)
    if isinstance(value, Raw):
        # Dates, NaN and deep values fit nowhere; a table may hold deep ones.
        return value[:1] not in "[{" or origin is not dict
    if origin is Literal:
        return value not in get_args(kind) or isinstance(value, bool)
    if origin is dict:
        return not isinstance(value, dict)
    if origin is tuple:
        return not isinstance(value, list)
    if kind is bool:
        return not isinstance(value, bool)
    if kind is int:
        return isinstance(value, bool) or not isinstance(value, int)
    if kind is float:
        return isinstance(value, bool) or not isinstance(value, NUMBERS)
    if kind is str:
        return not isinstance(value, str)
    # One text or a list of texts.
    texts = value if isinstance(value, list) else [value]
    return not all(isinstance(each, str) for each in texts)


def unfit_text(setting: Setting, text: str) -> bool:
    """Tell if the text of an option can never be a value of a number, a truth value or a choice."""
    kind = setting.kind
    if get_origin(kind) is Literal:
        return text not in get_args(kind)
    if kind is bool:
        return text.lower() not in ("true", "false")
    if kind in NUMBERS:
        try:
            return kind(text) != kind(text)
        except ValueError:
            return True
    return False
