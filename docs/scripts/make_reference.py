"""Write `docs/reference/settings.md` from the settings themselves: python docs/scripts/make_reference.py"""

from itertools import groupby
from pathlib import Path

from bradley.config import Config
from bradley.config.fields import Setting, settings_of, wanted

TARGET = Path(__file__).parents[1] / "reference" / "settings.md"
HEAD = """# Settings

Every setting of a run, as TOML (`[section]`, `field = value`) or on the command line (`--SECTION.FIELD value`). This
page is made from `src/bradley/config/` by `docs/scripts/make_reference.py`; the same text is in `bradley train --help`.
"""


def page() -> str:
    """The whole page."""
    groups = groupby(settings_of(Config).values(), key=lambda setting: setting.name.rpartition(".")[0])
    parts = [f"## {section or 'the run'}\n\n" + "\n".join(map(entry, settings)) for section, settings in groups]
    return "\n\n".join([HEAD, *parts]) + "\n"


def entry(setting: Setting) -> str:
    """One setting: its name, what it takes, its default, its meaning."""
    default = f", default `{setting.shown_default}`" if setting.shown_default else ""
    text = " ".join(setting.text.split())
    return f"- **`{setting.name}`** ({wanted(setting.kind, setting.limits)}{default})  \n  {text}"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
