"""Writes the table of computed memory into `docs/guides/memory.md`: python docs/make_memory.py"""

import re
from pathlib import Path

from bradley.training.memory_table import gpu_table

TARGET = Path(__file__).parent / "guides" / "memory.md"
BEGIN, END = "<!-- computed memory: docs/make_memory.py -->", "<!-- end of computed memory -->"


def page(text: str) -> str:
    """The page with the table as it is computed now."""
    table = f"{BEGIN}\n\n{gpu_table()}\n\n{END}"
    return re.sub(f"{BEGIN}.*?{END}", lambda _: table, text, flags=re.DOTALL)


if __name__ == "__main__":
    TARGET.write_text(page(TARGET.read_text(encoding="utf-8")), encoding="utf-8")
