"""Doctor: probes of a set-up or a model, each with the result of a sound one, a verdict, and a remedy.

Read `examine` first: the list of probes in order. A probe is a function that returns a `ProbeResult`.
"""
