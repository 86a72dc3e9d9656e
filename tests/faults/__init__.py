"""The fault bench: what breaks a run elsewhere is done to it here, and the run has to come through."""
