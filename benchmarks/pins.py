"""Record the observable behaviour of bradley, to compare records from before and after a restructuring.

    python benchmarks/pins.py --output before.json
    python benchmarks/pins.py --compare before.json after.json

Hashes of runs depend on processor and installed versions: make both records on one machine, in one environment.
A record holds hashes of all files of tiny CPU runs: Llama, GPT-2, LoRA, BERT, two processes, a run stopped and resumed.
Besides runs, a record holds outputs of other commands, help texts, settings, user errors, exit codes and public names.
Only the command line, run folders and public names are used. A comparison exits with 1 where records differ.
"""

import argparse
import difflib
import hashlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import bradley
import bradley.errors
import bradley.losses

EXCLUDED_FILES = {
    "timing.jsonl": "seconds and memory",
    "plots/rewards-minutes.*": "curves over minutes",
    "logs/*": "messages of the processes, with times",
}
"""Files of a run folder recorded by name alone, with the reason."""
EXCLUDED_KEYS = {
    "run.json": {"code": "a hash over paths and texts of the source files"},
    "results.json": {"seconds": "wall time"},
    "training/state.json": {"seconds": "wall time", "timing": "the size of timing.jsonl"},
    "manifest.json": {
        "sha256": "one hash covers training/state.json",
        "training/state.json": "size varies with wall time",
    },
    "environment.json": {"platform": "names the kernel"},
}
"""Keys of JSON files left out before hashing, with the reason."""
KEYS_OF = ("run.json", "environment.json", "timing.jsonl", "model/bradley.json", "model/config.json")
"""Files of a run folder recorded by the names of their keys as well."""
REST = """
render = { max_tokens = 256 }
optim = { lr = 3e-3 }
train = { batch_size = 16, max_steps = 8, threads = 1, device = "cpu", select_by = "nll" }
eval = { every = 3 }
"""
SYNTHETIC = "synthetic = { comparisons = 240, length_weight = 1.0 }"
CONFIG = f'data = {{ train = "synthetic:", valid_share = 0.2, test_share = 0.2, {SYNTHETIC} }}' + REST
TOKENIZER = '[model]\ntokenizer = "train"\nvocab_size = 512\n[model.config]\n'
SIZES = "hidden_size = 32\nnum_hidden_layers = 2\nnum_attention_heads = 2\nintermediate_size = 64\n"
LLAMA = f'model_type = "llama"\n{SIZES}'
BERT = f'model_type = "bert"\n{SIZES}max_position_embeddings = 256\n'
GPT2 = 'model_type = "gpt2"\nn_embd = 32\nn_layer = 2\nn_head = 2\nn_positions = 256\n'
LORA = (
    'model = { path = "gpt2/model", dropout = true, adapter = { kind = "lora", rank = 4, alpha = 4, dropout = 0.1 } }'
)
HIDE = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *more: None if name == "matplotlib" else find(name, *more)
"""
FILES = {
    "hide/sitecustomize.py": HIDE,
    "llama.toml": CONFIG + TOKENIZER + LLAMA,
    "bert.toml": CONFIG + TOKENIZER + BERT,
    "gpt2.toml": CONFIG + TOKENIZER.replace("[model]", "[model]\ndropout = true") + GPT2,
    "lora.toml": CONFIG + LORA,
    "misspelt.toml": CONFIG.replace("batch_size", "batchsize"),
    "absent-data.toml": 'data = { train = "absent.jsonl" }' + REST + TOKENIZER + LLAMA,
    "pairs.jsonl": "".join(
        f'{{"prompt": "{k}?", "chosen": "{"Long. " * k}", "rejected": "No."}}\n' for k in range(1, 7)
    ),
    "broken.jsonl": '{"prompt": "a", "chosen": "b"',
}
CHAINS = (
    ("launch local --processes 2 -- train llama.toml --output two --quiet",),
    ("train gpt2.toml --output gpt2 --quiet --train.max_steps 3", "train lora.toml --output lora --quiet"),
    ("train llama.toml --output llama --quiet",),
    ("train llama.toml --output resumed --train.stop_after 6", "train llama.toml --output resumed --resume"),
    ("train bert.toml --output bert --quiet --render.template raw",),
)
"""Command lines of runs: in order within a chain, two chains at a time."""
UNDRAWN = {line for chain in CHAINS for line in chain if "--output llama" not in line}
"""Command lines run without matplotlib, because drawing takes half the time of a run."""
RUNS = ("bert", "gpt2", "llama", "lora", "resumed", "two")
OUTPUTS = (
    "data pairs.jsonl --json --model.tokenizer llama/model",
    "plan llama.toml --no-timing",
    "score llama/model pairs.jsonl -o scored/scores.jsonl --quiet",
    "export lora exported --json",
)
ERRORS = (
    "",
    "trian llama.toml",
    "train llama.toml --optim.lrr 1",
    "train llama.toml --train.batch_size many",
    "train llama.toml --resume",
    "train absent.toml",
    "train misspelt.toml --json",
    "train absent-data.toml --output new",
    "train absent-data.toml --output new --data.train broken.jsonl",
    "train lora.toml --output new --model.path absent",
    "train llama.toml --output llama",
    "train llama.toml --output llama --resume --optim.lr 1 --quiet",
    "launch local --processes 2 -- plan llama.toml",
    "data absent.jsonl",
    "score absent pairs.jsonl -o new.jsonl",
    "export absent new",
    "verify absent --json",
)


class Desk:
    """A temporary folder with input files, and bradley's command line in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        source = str(Path(bradley.__file__).resolve().parents[1])
        fixed = {"COLUMNS": "100", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "LC_ALL": "C.UTF-8"}
        self.environment = {**os.environ, **fixed, "HF_HUB_OFFLINE": "1", "NO_COLOR": "1", "PYTHONPATH": source}
        (folder / "hide").mkdir()
        for name, text in FILES.items():
            (folder / name).write_text(text, encoding="utf-8")

    def call(self, line: str) -> dict[str, Any]:
        """Run one command line; return the exit code and the lines of output."""
        folder, environment = str(self.folder), dict(self.environment)
        if line in UNDRAWN:
            environment["PYTHONPATH"] += f"{os.pathsep}{folder}/hide"
        command = [sys.executable, "-m", "bradley", *line.split()]
        ended = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)
        texts = {"stdout": ended.stdout.replace(folder, "FOLDER"), "stderr": ended.stderr.replace(folder, "FOLDER")}
        # Seconds and the bar's steps per second differ from run to run.
        texts = {name: re.sub(r"\b\d+\.\d s\b|\d+\.\d+/s", "TIME", text) for name, text in texts.items()}
        return {"code": ended.returncode} | {name: text.splitlines() for name, text in texts.items()}

    def chain(self, lines: Sequence[str]) -> dict[str, Any]:
        """Run several command lines in order."""
        found = {}
        for line in lines:
            found[line] = self.call(line)
            # The launcher crashes if a rank removes its file between listing and reading; start such a run again.
            if line.startswith("launch") and "FileNotFoundError" in str(found[line]["stderr"]):
                shutil.rmtree(self.folder / "two", ignore_errors=True)
                found[line] = self.call(line)
        return found

    def digest(self, path: Path) -> str:
        """Hash a file without excluded keys, times and the temporary folder's path."""
        raw = path.read_bytes()
        dropped = {key for name, keys in EXCLUDED_KEYS.items() if path.match(name) for key in keys}
        if dropped:
            raw = json.dumps(without(json.loads(raw), dropped)).encode()
        if path.suffix == ".html":
            raw = re.sub(rb"<dt>time</dt><dd>[^<]*</dd>", b"", raw)
        return hashlib.sha256(raw.replace(str(self.folder).encode(), b"FOLDER")).hexdigest()

    def files(self, name: str) -> dict[str, str]:
        """Hash every file of a folder; an excluded file gets the reason instead."""
        found = {}
        for path in sorted(path for path in (self.folder / name).rglob("*") if path.is_file()):
            reason = next((why for pattern, why in EXCLUDED_FILES.items() if path.match(pattern)), "")
            found[str(path.relative_to(self.folder / name))] = f"excluded: {reason}" if reason else self.digest(path)
        return found

    def keys(self, name: str) -> dict[str, list[str]]:
        """List the names of all keys in some JSON files of a run folder."""
        found = {}
        for file in (file for file in KEYS_OF if (self.folder / name / file).exists()):
            text = (self.folder / name / file).read_text(encoding="utf-8")
            rows = [json.loads(part) for part in (text.splitlines() if file.endswith(".jsonl") else [text])]
            found[file] = sorted({path for row in rows for path, _ in leaves(row)})
        return found

    def helps(self, command: str = "") -> dict[str, list[str]]:
        """Read the help of a command and of every subcommand."""
        text = self.call(f"{command} --help")["stdout"]
        below = text[text.index("Commands:") + 1 :] if "Commands:" in text else []
        found = {command.strip() or "bradley": text}
        for name in re.findall(r"^  (\w\S*)", "\n".join(below), re.MULTILINE):
            found |= self.helps(f"{command} {name}")
        return found


def without(value: Any, dropped: set[str]) -> Any:
    """Copy a value without some keys, at every depth."""
    if isinstance(value, dict):
        return {key: without(inner, dropped) for key, inner in value.items() if key not in dropped}
    return [without(inner, dropped) for inner in value] if isinstance(value, list) else value


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield path and value of every scalar, empty object and empty list inside a value; N replaces list positions."""
    inner = (
        value.items() if isinstance(value, dict) else [("N", part) for part in value] if isinstance(value, list) else ()
    )
    if not inner:
        yield path, value
    for key, part in inner:
        yield from leaves(part, f"{path}/{key}")


def settings(schema: dict[str, Any], kinds: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """List type, default and limits of every setting, without texts and names of classes."""
    found: dict[str, Any] = {}
    for name, kind in schema["properties"].items():
        if "$ref" in kind:
            found |= settings(kinds[kind["$ref"].rpartition("/")[2]], kinds, f"{prefix}{name}.")
        else:
            found[prefix + name] = without(kind, {"title", "description"})
    return found


def parameters(thing: Any) -> str:
    """List the parameters of a public function, or of a class, with defaults and without annotations."""
    if not (inspect.isroutine(thing) or inspect.isclass(thing)) or hasattr(thing, "model_fields"):
        return ""  # the fields of a table of settings are recorded as settings
    return ", ".join(str(one.replace(annotation=one.empty)) for one in inspect.signature(thing).parameters.values())


def defined(module: ModuleType) -> dict[str, Any]:
    """Collect the public definitions of a module, without imported names."""
    own = {name: thing for name, thing in vars(module).items() if name[0] != "_" and not inspect.ismodule(thing)}
    here = {None, module.__name__}
    return {
        name: thing
        for name, thing in own.items()
        if getattr(thing, "__module__", None) in here or getattr(thing, "__name__", "") != name
    }


def record(folder: Path) -> dict[str, Any]:
    """Run every command in a folder and collect the record."""
    desk = Desk(folder)
    with ThreadPoolExecutor(2) as pool:
        commands = {line: found for chain in pool.map(desk.chain, CHAINS) for line, found in chain.items()}
        runs: dict[str, Any] = {name: {"files": desk.files(name), "keys": desk.keys(name)} for name in RUNS}
        outputs = dict(zip(OUTPUTS, pool.map(desk.call, OUTPUTS), strict=True))
        errors = dict(zip(ERRORS, pool.map(desk.call, ERRORS), strict=True))
    resumed, whole = runs["resumed"]["files"], runs["llama"]["files"]
    helps = desk.helps()
    public = {name: getattr(bradley, name) for name in bradley.__all__}
    schema = bradley.Config.model_json_schema()
    return {
        "runs": runs,
        "commands": commands,
        "resumed differs from whole": sorted(name for name in resumed if resumed[name] != whole.get(name)),
        "outputs": outputs,
        "folders": {name: desk.files(name) for name in ("scored", "exported")},
        "errors": errors,
        "left behind": (folder / "new").exists(),
        "exit codes": {name: kind.exit_code for name, kind in public.items() if hasattr(kind, "exit_code")},
        "table of exit codes": {str(code): text for code, text in bradley.errors.EXIT_CODES.items()},
        "help": helps,
        "options": {name: re.findall(r"^  (-\S.*?)(?:  |$)", "\n".join(text), re.M) for name, text in helps.items()},
        "settings": settings(schema, schema["$defs"]),
        "bradley": {name: parameters(thing) for name, thing in public.items()},
        "bradley.losses": {name: parameters(thing) for name, thing in defined(bradley.losses).items()},
    }


def compare(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Print every difference between two records; return whether there is any."""
    before, after = ([f"{path}: {value!r}" for path, value in leaves(one)] for one in (old, new))
    lines = difflib.unified_diff(before, after, lineterm="", n=0)
    changes = [line for line in lines if line[:2] in ("-/", "+/")]
    print("\n".join(changes) or "no difference")
    return bool(changes)


def main() -> None:
    """Record, or compare two records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--output", type=Path, metavar="FILE")
    what.add_argument("--compare", type=Path, nargs=2, metavar=("OLD", "NEW"))
    given = parser.parse_args()
    if given.compare:
        sys.exit(compare(*(json.loads(path.read_text(encoding="utf-8")) for path in given.compare)))
    with tempfile.TemporaryDirectory(prefix="bradley-pins-") as folder:
        found = record(Path(folder).resolve())
    given.output.write_text(json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
