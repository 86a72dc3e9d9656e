"""Two ranks of a real process group with a watchdog: rank 1 is lost in a given part of a step.

`ranks.py OUTPUT PLACE SIGNAL`; PLACE is where, SIGNAL what becomes of rank 1 there.
"""

import os
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from bradley.launch.local import INIT_METHOD
from bradley.training.distributed.watchdog import Watchdog

OUTPUT, PLACE, SIGNAL = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
RANK = int(os.environ["RANK"])


def lose(place: str, step: int) -> None:
    if (place, step, RANK) == (PLACE, 5, 1):
        (OUTPUT / "lost").write_text(str(time.time()))
        os.kill(os.getpid(), SIGNAL)


def main() -> None:
    torch.set_num_threads(1)
    (OUTPUT / f"pid-{RANK}").write_text(str(os.getpid()))
    method = os.environ[INIT_METHOD]
    world = int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo", init_method=method, rank=RANK, world_size=world, timeout=timedelta(minutes=5))
    layer = torch.nn.Linear(64, 64)
    with Watchdog(4.0, OUTPUT / "logs" / f"rank-{RANK}.log") as dog:
        for step in range(8):
            lose("forward", step)
            layer(torch.ones(8, 64)).sum().backward()
            dog.heartbeat()
            lose("reduce", step)
            dist.all_reduce(layer.weight.grad)
            lose("save", step)
            if RANK == 0:
                (OUTPUT / "weights").write_bytes(layer.weight.detach().numpy().tobytes())
            dist.barrier()
            lose("evaluate", step)
            scores = [torch.zeros(8) for _ in range(world)]
            dist.all_gather(scores, torch.ones(8))
            dog.step()


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:  # how gloo says that another rank is gone, and what the trainer makes of it
        print(error, file=sys.stderr)
        sys.exit(8)
