"""Base class and field types of the settings."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Policy = Literal["keep", "drop", "error"]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
# pydantic lets infinity pass `ge`, and an infinite rate or weight breaks the first update.
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
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
