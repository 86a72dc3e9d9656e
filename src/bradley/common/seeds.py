"""Randomness by name: every draw has a generator of its own, made from the run's seed and the purpose of the draw."""

import hashlib

import numpy as np


def seed_for(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed that depends on the run's seed and on what the draw is for, e.g. `seed_for(7, "order", epoch)`."""
    text = "\x1f".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A NumPy generator for one purpose; the same arguments give the same draws on every machine."""
    return np.random.default_rng(seed_for(seed, *purpose))
