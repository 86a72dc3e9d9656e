"""Read load, memory, temperature and power of a GPU during a run, by a thread, through NVML."""

import importlib.util
import threading
from collections.abc import Callable
from typing import Any

import torch

from ...common.console import Console
from ...common.text import GIB, one_line
from ...errors import UserError


class GpuMeter:
    """Readings of a GPU every few seconds, averaged between the lines of `timing.jsonl`.

    `gpu/not_supported` names readings missing on this GPU. `gpu/failed` counts failed readings, and training continues.
    With `seconds` = 0, or on a CPU, no thread runs, and `read` returns an empty dict.

    Args:
        seconds: between two readings.
        device: of the run.
    """

    def __init__(self, seconds: float, device: torch.device) -> None:
        self.seconds = seconds
        self._ended, self._lock = threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None
        self._reset()
        if seconds and device.type == "cuda":
            self._readers, self._not_supported = _supported(_readers(device))
            self._thread = threading.Thread(target=self._run, name="gpu meter", daemon=True)
            self._thread.start()

    def read(self) -> dict[str, Any]:
        """Return means and maxima since the last call as `gpu/<figure>_mean` and `_max`, and `gpu/samples`."""
        if self._thread is None:
            return {}
        with self._lock:
            # Swapped under the lock: a reading between the copy and the reset would be lost.
            rows, failed = self._rows, self._failed
            self._reset()
        figures: dict[str, Any] = {"gpu/samples": len(rows), "gpu/failed": failed}
        if self._not_supported:
            figures["gpu/not_supported"] = self._not_supported
        for name in self._readers if rows else ():
            values = [row[name] for row in rows]
            figures |= {f"gpu/{name}_mean": sum(values) / len(values), f"gpu/{name}_max": max(values)}
        return figures

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            import pynvml

            self._ended.set()
            # NVML must outlive the thread's last reading.
            self._thread.join()
            self._thread = None
            pynvml.nvmlShutdown()

    def _reset(self) -> None:
        self._rows: list[dict[str, float]] = []
        self._failed = 0

    def _run(self) -> None:
        while not self._ended.wait(self.seconds):
            self._sample()

    def _sample(self) -> None:
        import pynvml

        try:
            # A driver may fail for a moment. Readings are a side matter and must not end hours of training.
            row = {name: reader() for name, reader in self._readers.items()}
        except pynvml.NVMLError:
            with self._lock:
                self._failed += 1
            return
        with self._lock:
            self._rows.append(row)


def check_gpu(seconds: float, device: torch.device, console: Console) -> None:
    """Check before a run that readings can be had; on a CPU, say that there are none.

    Args:
        seconds: between two readings; 0: none.
        device: of the run.
        console: for the remark.

    Raises:
        UserError: `nvidia-ml-py` is missing, or NVML does not answer.
    """
    if not seconds:
        return
    # One file serves a rehearsal on a laptop and the run on a cluster.
    if device.type != "cuda":
        console.say(f"gpu          log.gpu_seconds = {seconds:g} reads nothing: the run is on {device}")
        return
    if importlib.util.find_spec("pynvml") is None:
        raise UserError(
            f"log.gpu_seconds = {seconds:g}, and the package nvidia-ml-py is not installed",
            'type `pip install "bradley[gpu]"`',
        )
    import pynvml

    try:
        pynvml.nvmlInit()
        pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise UserError(
            f"log.gpu_seconds = {seconds:g}, but NVML does not answer: {one_line(error)}", "use --log.gpu_seconds 0"
        ) from error


Readers = dict[str, Callable[[], float]]
"""Function by figure, returning the present value."""


def _readers(device: torch.device) -> Readers:
    """Return readers by figure, with the unit in the name.

    NVML ignores CUDA_VISIBLE_DEVICES and numbers all GPUs of the machine. The UUID finds the right GPU.
    """
    import pynvml as nvml

    nvml.nvmlInit()
    gpu = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    return {
        "utilization_percent": lambda: float(nvml.nvmlDeviceGetUtilizationRates(gpu).gpu),
        "memory_utilization_percent": lambda: float(nvml.nvmlDeviceGetUtilizationRates(gpu).memory),
        "memory_used_gib": lambda: nvml.nvmlDeviceGetMemoryInfo(gpu).used / GIB,
        "memory_total_gib": lambda: nvml.nvmlDeviceGetMemoryInfo(gpu).total / GIB,
        "power_watts": lambda: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000,
        "temperature_celsius": lambda: float(nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)),
        "torch_allocated_gib": lambda: torch.cuda.memory_allocated(device) / GIB,
        "torch_reserved_gib": lambda: torch.cuda.memory_reserved(device) / GIB,
    }


def _supported(readers: Readers) -> tuple[Readers, list[str]]:
    """Return the readers supported by this GPU, and the names of the others."""
    import pynvml

    missing = []
    for name, reader in readers.items():
        try:
            reader()
        except pynvml.NVMLError_NotSupported:
            missing.append(name)
    return {name: reader for name, reader in readers.items() if name not in missing}, missing
