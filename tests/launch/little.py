"""A little training on gloo, with a checkpoint after every step: `little.py OUTPUT STEPS SECONDS [--resume]`."""

import os
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

OUTPUT, STEPS, SECONDS = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
RANK, WORLD = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def save(step: int, weights: torch.Tensor) -> None:
    draft = OUTPUT / ".weights"
    draft.write_bytes(np.concatenate([[float(step)], weights.numpy().ravel()]).tobytes())
    draft.replace(OUTPUT / "weights")


def load() -> tuple[int, torch.Tensor]:
    path = OUTPUT / "weights"
    if "--resume" not in sys.argv or not path.exists():
        return 0, torch.zeros(8)
    values = np.frombuffer(path.read_bytes())
    return int(values[0]), torch.tensor(values[1:])


def main() -> None:
    torch.set_num_threads(1)
    with (OUTPUT / "starts").open("a") as file:
        file.write(f"{os.getpid()} {os.getppid()} {RANK} {int('--resume' in sys.argv)}\n")
    method = os.environ.get("BRADLEY_INIT_METHOD", "env://")
    dist.init_process_group("gloo", method, timedelta(seconds=60), rank=RANK, world_size=WORLD)
    done, weights = load()
    weights = weights.double()
    for step in range(done + 1, STEPS + 1):
        gradient = torch.sin(weights + step + RANK)  # each rank has data of its own
        dist.all_reduce(gradient)
        weights -= 0.1 * gradient
        if RANK == 0:
            save(step, weights)
        dist.barrier()
        time.sleep(SECONDS)


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:  # how gloo says that another rank is gone, and what the trainer makes of it
        print(error, file=sys.stderr)
        sys.exit(8)
