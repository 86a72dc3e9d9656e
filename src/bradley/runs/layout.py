"""File names of a run folder, each spelled here alone."""

SELECTION = "valid"
"""The set that selects the best checkpoint; every other set is only reported."""


PROBE = "train_probe"
"""The set that tells whether the training data are interpolated."""
