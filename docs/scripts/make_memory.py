"""Write the table of computed memory into `docs/guides/memory.md`: python docs/scripts/make_memory.py"""

import re
from pathlib import Path

from memory_table import gpu_table

TARGET = Path(__file__).parents[1] / "guides" / "memory.md"
BEGIN, END = "<!-- computed memory: docs/scripts/make_memory.py -->", "<!-- end of computed memory -->"


def page(text: str) -> str:
    """Return the page with the table as computed now."""
    table = f"{BEGIN}\n\n{gpu_table()}\n\n{END}"
    return re.sub(f"{BEGIN}.*?{END}", lambda _: table, text, flags=re.DOTALL)


if __name__ == "__main__":
    TARGET.write_text(page(TARGET.read_text(encoding="utf-8")), encoding="utf-8")
