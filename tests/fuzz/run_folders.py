"""Class `run_folders`: a finished and an interrupted run, a token cache and an interrupted scoring, damaged.

A command that ends with 0 must leave the undamaged results, state and model, the undamaged export, the undamaged rows;
a report may differ only where the damaged file is named. Harmless by declaration, for reports alone: files that carry
no hash, which are the events, times, samples and scored rows that a run appends to while it lasts.
"""

import random
import re
import shutil
from functools import cache
from pathlib import Path

from tests.fuzz import files, judges, weights
from tests.fuzz.case import Case
from tests.fuzz.good import Good
from tests.fuzz.json_places import Place, change, places, turn

SCORE_ON = ["score", "model", "many.jsonl", "-o", "../out/scores.jsonl", "--part-rows", "2", "--quiet"]
TRAIN = ["train", "config.toml", "--quiet", "--output"]
WITH_HASH = ("results.json", "config.json", "environment.json", "data_report.json")
"""Files of a run, shown in a report, that an edit must not change in silence."""
KINDS = ("finished", "interrupted", "parts", "cache")

MINE = "mine.txt"
"""File of somebody else in a run folder: no damage, and nothing that a command may touch."""


def damage(rng: random.Random, number: int, world: Path, good: Good) -> Case:
    """Make a case; three of four give a key of a JSON file a wrong value, each key in its turn."""
    kind = rng.choices(KINDS, (8, 6, 2, 2))[0]
    if number % 4:
        kind, place = key(good.folder, number - number // 4 - 1)
        folder = copied(kind, world, good)
        return command(rng, good, kind, place.file, change(rng, folder, place))
    if rng.random() < 0.06:
        return foreign(rng, world, good)
    folder = copied(kind, world, good)
    path = rng.choice(sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", MINE)))
    file = path.relative_to(folder).as_posix()
    if path.suffix == ".safetensors" and rng.random() < 0.6:
        what = weights.damage(rng, path)
    elif rng.random() < 0.1:
        what = lost_folder(rng, folder)
    else:
        what = files.damage(rng, path)
    return command(rng, good, kind, file, f"{file}: {what}")


def source(kind: str, root: Path) -> Path:
    """The undamaged folder of a kind, below the folder of all undamaged inputs."""
    return root / "runs" / kind if kind in ("finished", "interrupted") else root / kind


@cache
def keys_of(root: Path, kind: str) -> list[Place]:
    """List the keys of a kind. Of files built alike, such as those of two checkpoints, one stands for all."""
    found = places(source(kind, root))
    newest = max((place.file.split("/")[1] for place in found if "/step-" in place.file), default="")
    inside = f"checkpoints/{newest}/"
    if kind == "finished":
        # The checkpoints of a finished run are those of an interrupted one.
        return [place for place in found if not REPEATED.search(place.file) and "checkpoints/step-" not in place.file]
    if kind == "interrupted":
        own = (inside, "checkpoints/index.json", "run.json", "status.json", "attempts.json")
        return [place for place in found if place.file.startswith(own) and not REPEATED.search(place.file)]
    return [place for place in found if not REPEATED.search(place.file)]


REPEATED = re.compile(
    r"(train_probe-\w+|-last|-step-0)\.jsonl$|^0000(0[02-9]|[1-9])|step-\d+/tokenizer\.json|^samples\.json"
)
"""Files built as another file of a run or its model, and the rows for people, which nothing reads back."""


def key(root: Path, number: int) -> tuple[str, Place]:
    """Return the key whose turn it is, over the keys of all kinds."""
    found = [(kind, place) for kind in KINDS for place in keys_of(root, kind)]
    return found[turn(len(found), number)]


def copied(kind: str, world: Path, good: Good) -> Path:
    """Copy the folder of a kind to where the command looks for it."""
    if kind in ("finished", "interrupted"):
        folder = good.run_folder(kind, world)
        (folder / MINE).write_text("of somebody else\n")
        return folder
    if kind == "parts":
        good.model("full", world)
        return Path(shutil.copytree(good.parts, world / "out" / "scores.jsonl.parts"))
    return Path(shutil.copytree(good.cache, world / "cache", dirs_exist_ok=True))


def command(rng: random.Random, good: Good, kind: str, file: str, what: str) -> Case:
    """Make a case of a command that reads a folder of a kind."""
    what = f"{kind}: {what}"
    if kind == "parts":
        return Case(SCORE_ON, f"{what}; score", judge=judges.same_file(good.reference["many"], "out/scores.jsonl"))
    if kind == "cache":
        return Case([*TRAIN, "../out/run"], f"{what}; train", judge=judges.same_run(good, "out/run"), patience=120.0)
    choice = rng.choices(*readers(kind, file))[0]
    if choice == "plot":
        draws = rng.random() < 0.02
        judge = (
            judges.same_page(good, "in/run", file) if file in WITH_HASH and kind == "finished" and not draws else None
        )
        case = Case(["plot", "run"], f"{what}; plot", changes=RUN_PAGES, draws=draws, patience=120.0)
        return case._replace(judge=judge) if judge else case
    if choice == "export":
        args, judge = ["export", "run", "../out/export"], judges.same_export(good, "out/export")
        return Case(args, f"{what}; export", judge=judge, patience=180.0)
    if choice == "score":
        args = ["score", "run/model", "score.jsonl", "-o", "-", "--quiet"]
        return Case(args, f"{what}; score", judge=judges.same_scores(good.reference["scores of full"]))
    judge = ours_left(judges.same_run(good, "in/run"))
    args = [*TRAIN, "run", "--resume"]
    return Case(args, f"{what}; train --resume", judge=judge, changes=("in/run",), patience=120.0)


def readers(kind: str, file: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Name the commands that read a file of a run, and how often each is tried; an export takes seconds."""
    commands = ("plot", "train", "export", "score")
    if kind == "interrupted":
        return commands, (1, 6, 0, 0)
    if file.startswith("model/"):
        return commands, (0, 4, 0.5, 3)
    return commands, (0, 1, 0, 0) if file.startswith(("run.json", "status.json", "checkpoints")) else (4, 2, 0.1, 0)


RUN_PAGES = ("in/run/plots", "in/run/report.html", "in/run/.lock")
"""What `plot` writes in a run folder."""


def ours_left(judge: judges.Judge) -> judges.Judge:
    """Judge a run folder, and the file of somebody else inside."""
    return lambda ended, world: (
        judge(ended, world) + ([] if (world / "in" / "run" / MINE).is_file() else [f"run/{MINE} was removed"])
    )


def lost_folder(rng: random.Random, folder: Path) -> str:
    """Remove a folder, empty it, or put a link to a folder of somebody else."""
    path = rng.choice(sorted(path for path in folder.rglob("*") if path.is_dir()) or [folder])
    how = rng.choice(("gone", "empty", "a file", "a link out", "moved and linked"))
    if how == "moved and linked":
        target = folder.parent.parent / "near" / "moved"
        shutil.move(path, target)
        path.symlink_to(target)
    else:
        shutil.rmtree(path)
        if how == "empty":
            path.mkdir()
        elif how == "a file":
            path.write_text("mine\n")
        elif how == "a link out":
            path.symlink_to(folder.parent.parent / "near")
    return f"{path.name}/ is {how}"


def foreign(rng: random.Random, world: Path, good: Good) -> Case:
    """Give a project of somebody else, with the names of a run folder, as a run."""
    project = world / "in" / "run"
    names = (
        "checkpoints/mine",
        "eval/mine.jsonl",
        "model/mine.safetensors",
        "metrics.jsonl",
        "config.json",
        ".tmp-x/mine",
    )
    for name in rng.sample(names, rng.randrange(1, len(names) + 1)):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("of somebody else\n")
    choice = rng.choice(("train", "export into", "score", "plot"))
    if choice == "train":
        args = [*TRAIN, "run", *(["--resume"] if rng.random() < 0.7 else [])]
    elif choice == "export into":
        good.model("full", world)
        args = ["export", "model", "run"]
    elif choice == "score":
        good.model("full", world)
        (world / "in" / "run.jsonl.parts").mkdir()
        (world / "in" / "run.jsonl.parts" / "000000.jsonl").write_text("mine\n")
        args = ["score", "model", "score.jsonl", "-o", "run.jsonl", *(["--restart"] if rng.random() < 0.5 else [])]
    else:
        args = ["plot", "run"]
    return Case(
        args, f"a project of somebody else; {choice}", judge=lambda _ended, _world: ["a folder of somebody else"]
    )
