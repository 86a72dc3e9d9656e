"""Named random generators: every draw has a separate generator, made from the run's seed and the purpose of the draw.

A new draw in one part of the program therefore never changes the draws of another part.
"""

import hashlib

import numpy as np


def seed_for(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit hash of the run's seed and the purpose of the draw, e.g. `seed_for(7, "order", epoch)`."""
    # SHA-256 and not `hash()`, whose values change from process to process. 63 bits fit into a signed 64-bit integer.
    text = "\x1f".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Make a NumPy generator for a purpose; equal arguments give equal draws on every machine."""
    return np.random.default_rng(seed_for(seed, *purpose))
