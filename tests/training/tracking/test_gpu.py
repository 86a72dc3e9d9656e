"""The GPU meter over a stand-in of NVML: what it averages, what a GPU does not offer, and that its thread ends."""

import importlib.util
import sys
import threading
import time
from types import ModuleType, SimpleNamespace

import pytest
import torch

from bradley.common.console import Console
from bradley.errors import UserError
from bradley.training.loop import fit
from bradley.training.tracking.gpu import GpuMeter, check_gpu
from tests.training.jobs import config, job

CUDA = torch.device("cuda", 0)


class Nvml(ModuleType):
    """One GPU of 80 GiB; every reading of power is 10 W above the one before."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    class NVMLError_NotSupported(NVMLError):
        pass

    def __init__(self):
        super().__init__("pynvml")
        self.calls, self.watts, self.ready, self.fails, self.cold = [], 90, 0, False, False

    def nvmlInit(self):
        self.ready += 1

    def nvmlShutdown(self):
        self.ready -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid):
        assert uuid == "GPU-1234-abcd"
        return "gpu"

    def nvmlDeviceGetUtilizationRates(self, gpu):
        if self.fails:
            raise self.NVMLError("lost")
        return SimpleNamespace(gpu=50, memory=25)

    def nvmlDeviceGetMemoryInfo(self, gpu):
        return SimpleNamespace(used=20 * 2**30, total=80 * 2**30)

    def nvmlDeviceGetPowerUsage(self, gpu):
        self.watts += 10
        return self.watts * 1000

    def nvmlDeviceGetTemperature(self, gpu, kind):
        if self.cold:
            raise self.NVMLError_NotSupported
        return 61


def found(spec, find=importlib.util.find_spec):
    return lambda name, *package: spec if name == "pynvml" else find(name, *package)


@pytest.fixture
def nvml(monkeypatch):
    fake = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(importlib.util, "find_spec", found(fake))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="1234-abcd"))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 3 * 2**30)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 4 * 2**30)
    return fake


def wait_for(condition):
    ends = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.001)


def test_readings_are_averaged_until_they_are_read(nvml):
    meter = GpuMeter(0.001, CUDA)
    wait_for(lambda: nvml.watts >= 130)  # one reading when it started, three of the thread at least
    row = meter.read()
    samples = row["gpu/samples"]
    assert samples >= 2 and row["gpu/failed"] == 0
    assert row["gpu/power_watts_mean"] == pytest.approx(110 + 10 * (samples - 1) / 2)
    assert row["gpu/power_watts_max"] == 110 + 10 * (samples - 1)
    constant = {
        "utilization_percent": 50, "memory_utilization_percent": 25, "memory_used_gib": 20, "memory_total_gib": 80,
        "temperature_celsius": 61, "torch_allocated_gib": 3, "torch_reserved_gib": 4,
    }  # fmt: skip
    for name, value in constant.items():
        assert row[f"gpu/{name}_mean"] == row[f"gpu/{name}_max"] == value
    meter.close()
    assert nvml.ready == 0
    rest = meter.read()
    assert rest == {}


def test_what_the_gpu_does_not_offer_is_named_and_what_fails_is_counted(nvml):
    nvml.cold = True
    meter = GpuMeter(0.001, CUDA)
    nvml.fails = True
    wait_for(lambda: meter._failed >= 2)
    row = meter.read()
    assert row["gpu/not_supported"] == ["temperature_celsius"] and row["gpu/failed"] >= 2
    nvml.fails = False
    wait_for(lambda: meter._rows)
    row = meter.read()
    assert row["gpu/utilization_percent_mean"] == 50 and "gpu/temperature_celsius_mean" not in row
    meter.close()


def meters():
    return [thread for thread in threading.enumerate() if thread.name == "gpu meter"]


def test_the_thread_ends_with_the_run_also_when_it_fails(nvml, tmp_path, monkeypatch):
    monkeypatch.setattr(GpuMeter, "__init__", on_cuda(GpuMeter.__init__))
    seen = []
    made = job(tmp_path / "run", config(train={"max_steps": 1}, log={"gpu_seconds": 0.001}))

    def fails(scores, targets):
        seen.extend(meters())
        raise ZeroDivisionError

    made.losses["fails"] = fails
    with pytest.raises(ZeroDivisionError):
        fit(made)
    assert len(seen) == 1 and not meters() and nvml.ready == 0
    fit(job(tmp_path / "whole", config(train={"max_steps": 1}, log={"gpu_seconds": 0.001})))
    assert '"gpu/samples"' in (tmp_path / "whole" / "timing.jsonl").read_text()
    assert "gpu/" not in (tmp_path / "whole" / "metrics.jsonl").read_text()
    assert not meters()


def on_cuda(init):
    return lambda self, seconds, device: init(self, seconds, CUDA)


def test_readings_that_cannot_be_had_stop_the_run_before_it_begins(nvml, monkeypatch):
    console = Console("quiet")
    check_gpu(0.0, torch.device("cpu"), console)
    check_gpu(1.0, CUDA, console)
    assert nvml.ready == 0

    def broken():
        raise nvml.NVMLError("Driver Not Loaded")

    monkeypatch.setattr(nvml, "nvmlInit", broken)
    with pytest.raises(UserError, match="Driver Not Loaded"):
        check_gpu(0.5, CUDA, console)
    monkeypatch.setattr(importlib.util, "find_spec", found(None))
    with pytest.raises(UserError, match="nvidia-ml-py is not installed") as caught:
        check_gpu(0.5, CUDA, console)
    assert "bradley[gpu]" in caught.value.hint


def test_without_readings_there_is_no_thread():
    meter = GpuMeter(0.0, CUDA)
    assert meter.read() == {} and not meters()
    meter.close()
