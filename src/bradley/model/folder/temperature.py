"""Saved temperature: the factor that turns score differences of a model into probabilities.

`evaluate/temperature.py` fits the factor; this module reads the factor from a card.
"""

import math
from typing import Any, NamedTuple, Self

from ...errors import CheckpointError


class SavedTemperature(NamedTuple):
    """Temperature in a card, with its origin.

    Attributes:
        temperature, low, high: fitted T, and the 95 % interval; ends None where unknown.
        scale: beta / T: P(a better than b) = sigmoid(scale * (score of a - score of b)), beta included.
        beta: beta of the loss in training.
        n, clusters: judgments and prompts of the fit.
        set: name of the set of the fit.
        set_sha256: identity of the set of the fit, by which an evaluation knows the set again; "" where unknown.
    """

    temperature: float
    low: float | None
    high: float | None
    scale: float
    beta: float
    n: int
    clusters: int
    set: str
    set_sha256: str = ""

    @classmethod
    def from_card(cls, value: Any) -> Self:
        """Read a temperature from a card.

        Raises:
            CheckpointError: the value was not written by `add_temperature`.
        """
        try:
            known = cls(**value)
            sound = math.isfinite(known.scale) and known.scale > 0
        except TypeError as error:
            raise CheckpointError(
                f"the temperature of the model is broken: {error}", "copy the whole model folder again"
            ) from error
        if not sound:
            message = f"the temperature of the model is broken: scale = {known.scale}"
            raise CheckpointError(message, "fit the temperature again: bradley calibrate --replace")
        return known
