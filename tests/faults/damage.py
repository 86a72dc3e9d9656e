"""The kinds of damage that are done to a file of a checkpoint."""

KINDS = ("flip", "truncate", "zero", "delete", "swap")


def damage(path, kind, older, rng):
    """Damage a file; `older` is the same file of the checkpoint before."""
    data = bytearray(path.read_bytes())
    if kind == "flip":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "truncate":
        del data[rng.randrange(len(data)) :]
    elif kind == "zero":
        data = bytearray(len(data))
    elif kind == "swap":
        data = bytearray(older.read_bytes())
    path.unlink() if kind == "delete" else path.write_bytes(data)
