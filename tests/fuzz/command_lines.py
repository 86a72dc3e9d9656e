"""Class `command_lines`: commands, options and values at random, odd names, special files, and lines of great length.

A command line has no undamaged form, so that an exit with 0 is declared harmless; only the general rules count. No
value leads out of the world, not even to `/dev/null` for an output: a fault would damage the machine of the tests.
"""

import os
import random
from pathlib import Path

import click

from bradley.cli.main import cli
from tests.fuzz.case import Case
from tests.fuzz.good import Good
from tests.fuzz.values import PLANTED

NAMES = (
    *(
        "score.jsonl",
        "train.jsonl",
        "config.toml",
        "model",
        "run",
        "model/config.json",
        "run/metrics.jsonl",
        "table.csv",
    ),
    *("missing", "missing.jsonl", "missing/below/it.jsonl", "", " ", ".", "..", "-", "./", "model/", "run/../run"),
    *(
        "pipe",
        "loop",
        "dangling",
        "null",
        "empty.jsonl",
        "pipe.jsonl",
        "loop.jsonl",
        "folder.jsonl",
        "pipe.csv",
        "loop.csv",
    ),
    *("n" * 300, "n" * 300 + ".jsonl", "a/" * 3000 + "b", f"a\nerror: {PLANTED}", f"b\r\nhint: {PLANTED}.jsonl"),
    *(
        "\x1b[2J\x1b]0;t\x07.jsonl",
        "\u202egnp.jsonl",
        "\x7f\x80\x9b2J",
        os.fsdecode(b"\xff\xfe.jsonl"),
        "na\u00efve \U0001f600",
    ),
    *(
        "~nosuchuser/x.jsonl",
        "~/x.jsonl",
        "$HOME",
        "*.jsonl",
        "[",
        "**",
        "{a,b}.jsonl",
        "synthetic:",
        "hub:",
        "hub:x",
        "hub:a/b",
    ),
    *(
        "hub:a/b?split=",
        "hub:../..?x=1&x=2",
        "http://localhost:1/x",
        "s3://a/b",
        "file:///etc/x",
        "--",
        "-o",
        "-x",
        "=",
        "a=b",
    ),
    *(
        "x.jsonl.gz",
        "x.parquet",
        "x.jsonl",
        "out.png",
        "../out/a",
        "../out/b.jsonl",
        "../out/c.parquet",
        "../near",
        "../near/new",
    ),
)
"""Texts that are given as files, folders and arguments."""
TEXTS = (
    *(
        "",
        " ",
        "x",
        "0",
        "1",
        "-1",
        "1.5",
        "1e400",
        "nan",
        "inf",
        "true",
        "null",
        "[]",
        "{}",
        "[1",
        '{"a":',
        "a,b",
        ",,,",
        "=",
        "9" * 5000,
    ),
    *(
        "float32",
        "auto",
        "error",
        "step",
        "cuda",
        "rm_",
        "owner/name",
        "a/b/c",
        "hf_" + "a" * 34,
        "[" * 20_000,
        "\u0661",
        "0x10",
        "1_0",
    ),
    *(
        "\x1b[31m",
        f"v\nerror: {PLANTED}",
        os.fsdecode(b"\xff"),
        "v" * 100_000,
        "%s%n",
        "../..",
        "\u2028",
        "data.train",
        "loss.kind",
    ),
)
"""Texts that are given as values of options."""
COMMANDS = (*sorted(cli.commands), "launch local")


def damage(rng: random.Random, _number: int, world: Path, good: Good) -> Case:
    """Make a case: most a command with random options, the others long lines or words that are no command."""
    special_files(world)
    if rng.random() < 0.5:
        good.model("full", world)
    if rng.random() < 0.5:
        good.run_folder("finished", world)
    args = rng.choices((random_line, long_line, no_command), (20, 2, 2))[0](rng)
    # These write into a run folder on purpose: `train` goes on with it, `plot` draws anew.
    ours = ("in/run",) if args[:1] in (["train"], ["plot"], ["launch"]) else ()
    stdin = rng.choice((b"", b'{"prompt": "a", "response": "b"}\n', b"\xff\x00", b"[" * 10_000))
    return Case(args, "a command line", changes=ours, adds=True, stdin=stdin, patience=60.0)


def special_files(world: Path) -> None:
    """Put pipes, links, folders and empty files among the inputs."""
    inputs = world / "in"
    for suffix in ("", ".jsonl", ".csv"):
        os.mkfifo(inputs / f"pipe{suffix}")
        (inputs / f"loop{suffix}").symlink_to(f"loop{suffix}")
    (inputs / "dangling").symlink_to("nowhere")
    (inputs / "null").symlink_to("/dev/null")
    (inputs / "empty.jsonl").write_text("")
    (inputs / "folder.jsonl").mkdir()
    (inputs / "table.csv").write_text("step,loss,set\n1,0.5,a\n2,x,b\n")


def random_line(rng: random.Random) -> list[str]:
    """A command with some of its arguments and options, each with a value from the lists."""
    name = rng.choice(COMMANDS)
    command: click.Command = cli
    for part in name.split():
        assert isinstance(command, click.Group)
        command = command.commands[part]
    params = command.get_params(click.Context(command))
    args = [text for param in params if isinstance(param, click.Argument) for text in argument(rng, param)]
    options = [param for param in params if isinstance(param, click.Option)]
    for param in rng.choices(options, k=rng.choice((0, 1, 1, 2, 3, 6))) if options else []:
        args += option(rng, param)
    if name in ("score", "train") and rng.random() < 0.7:
        args += ["-o" if name == "score" else "--output", rng.choice(NAMES)]
    if rng.random() < 0.3:
        rng.shuffle(args)
    if name == "train":
        args += ["--sanity"]
    return [*name.split(), *args]


def argument(rng: random.Random, param: click.Argument) -> list[str]:
    """Values of an argument: usually as many as wanted, of a likely kind half of the time."""
    likely = {"config": "config.toml", "model": "model", "run": "run", "path": "run", "folder": "../out/new"}
    values = [likely.get(str(param.name), "score.jsonl") if rng.random() < 0.5 else rng.choice(NAMES)]
    return values * rng.choice((1, 1, 1, 1, 1, 0, 2))


def option(rng: random.Random, param: click.Option) -> list[str]:
    """An option with a value, as two words or one; now and then without, twice, or misspelled."""
    name = rng.choice(param.opts)
    if rng.random() < 0.05:
        name = name[:-1] + rng.choice(("", "x", "\x1b", "é"))
    if param.is_flag and rng.random() < 0.9:
        return [name]
    value = rng.choice(NAMES if rng.random() < 0.3 else TEXTS)
    if isinstance(param.type, click.Choice) and rng.random() < 0.5:
        value = str(rng.choice(list(param.type.choices)))
    given = [f"{name}={value}"] if rng.random() < 0.5 else [name, value]
    return rng.choice((given, given, given, given, given * 2, [name]))


def long_line(rng: random.Random) -> list[str]:
    """A command line of many or long words."""
    command = rng.choice(("data", "score", "train", "plan", "plot", "export", "verify", "benchmark"))
    return rng.choice(
        (
            [command, *(["missing.jsonl"] * 5000)],
            [command, *(f"--a.b{number}=1" for number in range(20_000))],
            [command, "config.toml", *(["--train.batch_size", "8"] * 10_000)],
            [command, *(["--quiet"] * 20_000)],
            [command, "n" * 1_000_000],
            [command, f"--{'n' * 200_000}"],
            [command, f"--{'n' * 200_000}.x=1"],
            [command, f"--model.config.{'a.' * 20_000}b=1", "config.toml"],
            [command, "config.toml", f"--data.mix.{'n' * 100_000}=x"],
        )
    )


def no_command(rng: random.Random) -> list[str]:
    """Words that name no command, or ask for help."""
    first = [[], [rng.choice(NAMES)], ["--help"], ["--version"], ["-h"], [rng.choice(COMMANDS).split()[0], "--help"]]
    return [*rng.choice(first), *rng.choices((*NAMES, *TEXTS), k=rng.choice((0, 0, 1, 3)))]
