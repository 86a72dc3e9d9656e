"""Scores of many model folders in a process of their own: through bradley, and through transformers and PEFT alone.

Reads a list of `{"folder", "base", "ids"}` as JSON from stdin, `base` empty for a whole model, and writes for each the
scores of both ways, of the batch that all tests of adapters share.
"""

import json
import sys
from pathlib import Path

import torch

from bradley.model.folder.save_load import load_model
from tests.model.adapted import scores


def library_scores(folder, base, ids):
    """Through transformers and, for an adapter, PEFT, one row at a time: no padding, no pad token."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification as Classifier

    network = Classifier.from_pretrained(base or folder, num_labels=1)
    if base:
        network = PeftModel.from_pretrained(network, folder)
    network.eval()
    with torch.no_grad():
        return [float(network(input_ids=torch.tensor([row])).logits[0, 0]) for row in ids]


def own_scores(folder):
    """Through the model that bradley loads, on the engine that it chooses."""
    return scores(load_model(Path(folder)).model).tolist()


def both_ways(jobs):
    """The scores of every folder, by each way."""
    return [{"bradley": own_scores(job["folder"]), "library": library_scores(**job)} for job in jobs]


def main():
    json.dump(both_ways(json.load(sys.stdin)), sys.stdout)


if __name__ == "__main__":
    main()
