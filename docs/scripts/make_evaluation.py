"""Draw `docs/images/evaluation.png` and `comparison.png`: python docs/scripts/make_evaluation.py [RUN RUN]

The runs are those of the README, `runs/evaluate-0` and `runs/evaluate-1` of `configs/evaluate-small.toml`. The script
writes both pages into a temporary folder, prints what the commands print, and takes pictures in headless Chromium.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
VALID = "../shared/data/human_mix/val.jsonl.gz"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH = 1180
"""Width of the pictures in points."""


def bradley(*words: str) -> None:
    """Run a command of bradley in the root of the project."""
    subprocess.run([sys.executable, "-m", "bradley", *words], cwd=ROOT, check=True)


def picture(page: Path, target: Path, height: int) -> None:
    """Take a picture of the top of a page, `height` points high."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise SystemExit(f"no browser: install one of {', '.join(BROWSERS)}")
    # A browser started by root refuses its sandbox; the page is our own, without scripts.
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={WIDTH},{height}"]
    subprocess.run([browser, *options, f"--screenshot={target}", page.as_uri()], check=True, capture_output=True)


def main(runs: list[str]) -> None:
    """Write pages and pictures of the runs."""
    with tempfile.TemporaryDirectory() as folder:
        evaluation, comparison = Path(folder) / "evaluation.html", Path(folder) / "comparison.html"
        bradley("evaluate", runs[0], VALID, "--page", str(evaluation))
        bradley("compare", *runs, "--page", str(comparison))
        picture(evaluation, IMAGES / "evaluation.png", 1100)
        picture(comparison, IMAGES / "comparison.png", 885)


if __name__ == "__main__":
    main(sys.argv[1:] or ["runs/evaluate-0", "runs/evaluate-1"])
