"""Class `model_folders`: a whole model, an adapter and an export, with damage to every file and every key.

Nothing is declared harmless: a folder that scores must give the undamaged scores, a folder that passes `verify` must
score so too, and a run from a model of bradley must give the undamaged results. Damage to an adapter's base model that
leaves the scores alone is as good as none.
"""

import json
import random
import shutil
from functools import cache
from pathlib import Path

from tests.fuzz import child, files, judges, weights
from tests.fuzz.case import Case, Ended
from tests.fuzz.good import Good
from tests.fuzz.json_places import Place, change, places, turn
from tests.fuzz.values import change_value

MODELS = ("full", "lora", "export")
SCORE = ["score", "model", "score.jsonl", "-o", "-", "--quiet"]
RUNS = "import pathlib\npathlib.Path('../near/ran').touch()\npathlib.Path('../../near/ran').touch()\n"
"""Code that leaves a trace in a folder of somebody else."""
CODE_NAMES = (
    "modeling_llama.py",
    "argparse.py",
    "json.py",
    "tokenization.py",
    "torch.py",
    "__init__.py",
    "sitecustomize.py",
)
KERNELS = ("flash_attention_2", "kernels-community/flash-attn", "a/b", "x", "paged|sdpa", "eager", "flex_attention")


def damage(rng: random.Random, number: int, world: Path, good: Good) -> Case:
    """Make a case; every second one gives a key of a JSON file a wrong value, each key in its turn."""
    if number % 2 == 0:
        name, place = key(good.models, number // 2)
        folder = good.model(name, world)
        return command(rng, good, name, f"{name}: {change(rng, folder, place)}")
    name = rng.choice(MODELS)
    folder = good.model(name, world)
    if name == "lora" and rng.random() < 0.3:
        return base_case(rng, world, good)
    make = rng.choices((any_file, tensors, more_files, kernels, several, exchanged), (5, 6, 2, 1, 1, 1))[0]
    return command(rng, good, name, f"{name}: {make(rng, folder, good)}")


@cache
def every_key(models: Path) -> list[tuple[str, Place]]:
    """List the keys of every model; of an export only what the model of a run has not."""
    found = {name: places(models / name) for name in MODELS}
    found["export"] = [place for place in found["export"] if place not in set(found["full"])]
    return [(name, place) for name in MODELS for place in found[name]]


def key(models: Path, number: int) -> tuple[str, Place]:
    """Return the key whose turn it is, over the keys of all models."""
    found = every_key(models)
    return found[turn(len(found), number)]


def command(rng: random.Random, good: Good, name: str, what: str) -> Case:
    """Make a case of a command on `model`."""
    choice = rng.choices(("score", "verify", "train", "tokens", "score cpu"), (20, 1, 2, 2, 2))[0]
    scores = judges.same_scores(good.reference[f"scores of {name}"])
    if choice == "verify":
        judge = scores_too(scores)
        return Case(["verify", "model"], f"{what}; verify", judge=judge, patience=180.0)
    if choice == "train" and name == "full":
        args = ["train", "from.toml", "--output", "../out/run", "--quiet"]
        judge = judges.same("run", good.reference["run from full"], judges.run_at("out/run"))
        return Case(args, f"{what}; train from it", judge=judge, patience=120.0)
    if choice == "tokens":
        args = ["data", "score.jsonl", "--tokens", "--model.path", "model"]
        judge = judges.same("output", good.reference[f"tokens of {name}"], lambda ended, _world: ended.out.decode())
        return Case(args, f"{what}; data --tokens", judge=judge)
    more = ["--device", "cpu", "--part-rows", "2"] if choice == "score cpu" else []
    return Case([*SCORE, *more], f"{what}; score", judge=scores)


def scores_too(scores: judges.Judge) -> judges.Judge:
    """Judge a folder that passed `verify`: it scores, and as the undamaged one."""

    def judge(_ended: Ended, world: Path) -> list[str]:
        ended = child.run(Case(SCORE, "after verify"), world)
        if ended.code:
            return [f"verify passed, and score ends with {ended.code}: {ended.err[-200:]!r}"]
        return [f"verify passed, and {each}" for each in scores(ended, world)]

    return judge


def any_file(rng: random.Random, folder: Path, _good: Good) -> str:
    """Damage the bytes or the place of a file."""
    return files.damage(rng, rng.choice(files_of(folder)))


def files_of(folder: Path) -> list[Path]:
    """List the files of a model folder."""
    return sorted(path for path in folder.iterdir() if path.is_file())


def tensors(rng: random.Random, folder: Path, _good: Good) -> str:
    """Damage the weights."""
    return weights.damage(rng, rng.choice(sorted(folder.glob("*.safetensors"))))


def more_files(rng: random.Random, folder: Path, _good: Good) -> str:
    """Put files into the folder, or the current folder, that nothing there needs."""
    how = rng.randrange(6)
    if how == 0:
        name = rng.choice(CODE_NAMES)
        rng.choice((folder, folder.parent)).joinpath(name).write_text(RUNS)
        return f"{name} beside"
    if how == 1:
        (folder / "modeling_llama.py").write_text(RUNS)
        # An adapter has no config.json.
        config = next(folder / name for name in ("config.json", "adapter_config.json") if (folder / name).exists())
        set_key(config, "auto_map", {"AutoModelForSequenceClassification": "modeling_llama.Model"})
        return "code of its own"
    if how == 2:
        name = rng.choice(("pytorch_model.bin", "adapter_model.bin", "training_args.pt", "x.pkl"))
        (folder / name).write_bytes(b"\x80\x04cos\nsystem\n(S'touch ../near/ran'\ntR.")
        return f"{name} beside"
    if how == 3:
        index = {
            "metadata": {},
            "weight_map": {"score.weight": rng.choice(("../../near/mine.txt", "x.safetensors", 1))},
        }
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        return "an index of parts beside"
    if how == 4:
        (folder / "model-00001-of-00002.safetensors").write_bytes((b"\x08" + bytes(7)) + b"{}      ")
        return "a part beside"
    path = rng.choice(files_of(folder))
    target = folder.parent.parent / "near" / path.name
    shutil.move(path, target)
    path.symlink_to(target)
    return f"{path.name} is a link out of the folder"


def kernels(rng: random.Random, folder: Path, _good: Good) -> str:
    """Name an implementation of attention, or code of the Hub, in a configuration."""
    key, value = (
        rng.choice(("attn_implementation", "_attn_implementation", "experts_implementation")),
        rng.choice(KERNELS),
    )
    path = rng.choice(sorted(folder.glob("*config.json")))
    set_key(path, key, value)
    return f"{path.name}: {key} is {value}"


def several(rng: random.Random, folder: Path, good: Good) -> str:
    """Damage two files."""
    found = [any_file(rng, folder, good)]
    left = sorted(path for path in folder.glob("*.json") if path.is_file() and not path.is_symlink())
    usable = [path for path in left if readable(path)]
    if usable:
        path = rng.choice(usable)
        found.append(f"{path.name}: {change_value(rng, path, ())}")
    return " and ".join(found)


def exchanged(rng: random.Random, folder: Path, good: Good) -> str:
    """Replace a file by the file of another model."""
    other = rng.choice([good.models / name for name in (*MODELS, "base") if name != folder.name])
    both = [path.name for path in files_of(folder) if (other / path.name).is_file()]
    if not both:
        return any_file(rng, folder, good)
    name = rng.choice(both)
    shutil.copy(other / name, folder / name)
    return f"{name} of {other.name}"


def base_case(rng: random.Random, world: Path, good: Good) -> Case:
    """Damage the base model of an adapter; `--base` names the damaged copy."""
    base = Path(shutil.copytree(good.models / "base", world / "in" / "base"))
    what = rng.choice((any_file, tensors, more_files, kernels))(rng, base, good)
    judge = judges.same_scores(good.reference["scores of lora"])
    return Case([*SCORE, "--base", "base"], f"base of lora: {what}; score", judge=judge)


def readable(path: Path) -> bool:
    """Tell if a file is JSON."""
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return path.stat().st_size < 2**20


def set_key(path: Path, key: str, value: object) -> None:
    """Set a key of a JSON object."""
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
