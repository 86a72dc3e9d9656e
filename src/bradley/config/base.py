"""Base class and field types of the settings."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# Every number has an upper bound, far above any sensible value: a slip of the keyboard is refused at once, and never
# ends in a crash of a library, in memory without end, or in a run that plans for hours.
MOST = 10**9
"""Largest count of a setting."""
MOST_STEPS = 10**7
"""Largest number of optimizer steps; `bradley plan` looks at each of the steps."""
MOST_TOKENS = 10**7
"""Largest limit of a conversation, in tokens."""
MOST_TIME = 1e7
"""Largest time in seconds or minutes: 115 days of seconds. Waits of the system overflow far above."""
LARGEST = 1e38
"""Largest number in a formula: the weights of a model are float32, which ends at 3.4e38."""

Policy = Literal["keep", "drop", "error"]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[int, Field(gt=0, le=MOST)]
Count = Annotated[int, Field(ge=0, le=MOST)]
Steps = Annotated[int, Field(ge=0, le=MOST_STEPS)]
Tokens = Annotated[int, Field(ge=0, le=MOST_TOKENS)]
# pydantic lets infinity pass `ge`, and an infinite rate or weight breaks the first update.
NotNegative = Annotated[float, Field(ge=0.0, le=LARGEST, allow_inf_nan=False)]
AboveZero = Annotated[float, Field(gt=0.0, le=LARGEST, allow_inf_nan=False)]
Time = Annotated[float, Field(ge=0.0, le=MOST_TIME, allow_inf_nan=False)]
Words = str | list[str]
"""A single text or several: sources of data, names of trackers."""


class Section(BaseModel):
    """A group of settings: frozen, and closed to unknown names."""

    # Frozen, because rules about several settings are checked at construction alone.
    # Closed, because a run with an ignored slip would train on a default.
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def as_list(words: Words) -> list[str]:
    """Return a setting of a single text or several as a list of non-empty entries."""
    return [word for word in ([words] if isinstance(words, str) else words) if word]


def changed(section: Section, prefix: str = "") -> Iterator[str]:
    """Yield dotted names of the settings below a section with values other than the defaults."""
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if isinstance(value, Section):
            yield from changed(value, f"{prefix}{key}.")
        elif value != field.default:
            yield prefix + key
