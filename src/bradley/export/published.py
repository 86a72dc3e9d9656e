"""A card for other people: the same, without the folders of the machine that trained the model."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

LOCAL = ("/", "./", "../", "~")
"""How paths begin that lead through the folders of one machine."""
TEXTS = ("system_prompt", "template_kwargs")
"""Settings that are texts, whatever they begin with."""


def published(card: Mapping[str, Any]) -> dict[str, Any]:
    """A card whose data, settings and template are named by the last part of their paths.

    The base of an adapter stays as it was given: it is needed to load it.
    """
    shortened = {key: last_parts(card[key]) for key in ("config", "data", "render") if key in card}
    return {**card, **shortened}


def last_parts(value: Any) -> Any:
    """A nested value with the last part of every local path; names on the Hub and other texts stay."""
    if isinstance(value, dict):
        return {key: entry if key in TEXTS else last_parts(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [last_parts(entry) for entry in value]
    return PurePath(value).name if isinstance(value, str) and value.startswith(LOCAL) else value
