"""Settings and rows of a whole run of a moment."""

from tests.helpers import tiny_run

SETTINGS = tiny_run(log={"every": 1})


def rows(count, prefix=""):
    return [
        {
            "prompt": f"{prefix} What follows {i}?",
            "chosen": f"The number {i + 1} follows.",
            "rejected": f"Nobody knows what number follows {i}.",
            "id": f"{prefix}{i}",
            "set": "even" if i % 2 == 0 else "odd",
        }
        for i in range(count)
    ]
