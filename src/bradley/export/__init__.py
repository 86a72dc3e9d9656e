"""Export of a trained model as a folder for other programs: transformers, TRL, vLLM, OpenRLHF, and the Hub."""
