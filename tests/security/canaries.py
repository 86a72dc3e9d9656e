"""Secrets of a run in tests, and a search for them in all its files."""

VARIABLES = {
    "HF_TOKEN": "hf_" + "canaryOne" * 4,
    "WANDB_API_KEY": "c0ffee" * 6 + "beef",
    "AWS_ACCESS_KEY_ID": "AKIACANARYCANARYCANA",
    "AWS_SECRET_ACCESS_KEY": "canary/Four+" * 3,
    "AWS_SESSION_TOKEN": "canary-five-" * 3,
}
IN_URL, IN_ARGUMENTS, IN_ERROR = "canary-six", "hf_" + "canarySeven" * 3, "canary-eight"
CANARIES = [*VARIABLES.values(), IN_URL, IN_ARGUMENTS, IN_ERROR]


def found_in(folder):
    """Every file below a folder that holds a canary, with which."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [(path.name, canary) for path in files for canary in CANARIES if canary.encode() in path.read_bytes()]


def refused(*_):
    """Fail with all secrets in the message."""
    secrets = " ".join([IN_ARGUMENTS, *VARIABLES.values()])
    raise RuntimeError(f"401 for https://me:{IN_ERROR}@host?token={IN_URL}, with {secrets}")
