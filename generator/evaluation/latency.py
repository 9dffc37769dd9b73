"""How long a network takes for a batch on the device at hand, and what energy that takes.

Timed as a user would see it: the network in evaluation mode, without gradients, after a warm-up; on a GPU
between two events of the stream, on the CPU by the monotonic clock. The median is told with its spread.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from vitruvius.errors import UserError

WARM_UP, RUNS = 10, 50
"""Passes before anything is timed, and timed passes."""
LEAST_SECONDS = 0.2
"""Warm-up goes on for at least so long: clocks of a GPU rise over many short passes."""
MOST_SECONDS = 20.0
"""Timing stops after so long, however many passes it has seen, but not before three."""
ENERGY_SECONDS = 2.0
"""The counter of the driver moves every 20 to 100 ms: energy is read over so long a time."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Times of one network on one device.

    Attributes:
        device: Name of the device, for example "NVIDIA H100" or "x86_64 CPU, 1 thread".
        batch: Images in a pass.
        median: Milliseconds of a pass.
        low: Lower quartile.
        high: Upper quartile.
        runs: Timed passes.
        energy: Millijoules of a pass as the driver counts for the whole device, None where it does not.
    """

    device: str
    batch: int
    median: float
    low: float
    high: float
    runs: int
    energy: float | None = None

    @property
    def name(self) -> str:
        """The key in `Measurement.latency`: device and batch."""
        return f"{self.device}, batch {self.batch}"

    def __str__(self) -> str:
        """For people."""
        energy = f", {self.energy:.1f} mJ" if self.energy is not None else ""
        return (
            f"{self.median:.3f} ms [{self.low:.3f}, {self.high:.3f}]{energy} "
            f"({self.name}; median and quartiles of {self.runs} passes)"
        )


def find_device(wanted: str) -> str:
    """The device for torch: "cpu" or "cuda:N".

    Raises:
        UserError: A name that is not allowed, or a device that is not there.
    """
    kind, _, number = wanted.partition(":")
    if wanted not in ("auto", "cpu", "cuda") and not (kind == "cuda" and number.isdecimal()):
        raise UserError(f"Unknown device {wanted!r}; allowed: 'auto', 'cpu', 'cuda', 'cuda:N'.")
    count = torch.cuda.device_count()
    if wanted == "cpu" or (wanted == "auto" and count == 0):
        return "cpu"
    if int(number or 0) >= count:
        raise UserError(
            f"Device {wanted!r} is not there: this machine has {count} CUDA devices. Use 'cpu' or 'auto'."
        )
    return f"cuda:{number or 0}"


def measure_latency(
    network: nn.Module,
    size: tuple[int, int, int],
    *,
    batch: int = 1,
    device: str = "auto",
    runs: int = RUNS,
    energy: bool = True,
) -> Latency:
    """Time a network; nothing else should run on the device meanwhile.

    Args:
        network: Any network that takes (batch, C, H, W); moved to the device and set to evaluation mode.
        size: Channels, height and width of the images.
        batch: Images in a pass.
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N".
        runs: Timed passes; fewer where 20 seconds are over, but at least three.
        energy: Whether energy is asked for, which takes two seconds more on a GPU.

    Raises:
        UserError: The device is not there, or `batch` or `runs` is below 1.
    """
    if batch < 1 or runs < 1:
        raise UserError(f"batch={batch}, runs={runs} is not allowed; both must be at least 1.")
    where = find_device(device)
    network = network.to(where).eval()
    x = torch.rand(batch, *size, device=where)
    with torch.inference_mode():
        _warm_up(lambda: network(x), where)
        once = _timer(where)
        times: list[float] = []
        start = time.perf_counter()
        while len(times) < runs and (len(times) < 3 or time.perf_counter() - start < MOST_SECONDS):
            times.append(once(lambda: network(x)))
        joules = _energy(lambda: network(x), where) if energy else None
    low, median, high = _quartiles(times)
    return Latency(device_name(where), batch, median, low, high, len(times), joules)


def device_name(device: str) -> str:
    """Name of a device for people and for `Measurement.latency`: the CPU with its number of threads."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{platform.machine()} CPU, {threads} thread{'s' if threads > 1 else ''}"


def _warm_up(run: Callable[[], object], device: str) -> None:
    start = time.perf_counter()
    passes = 0
    while passes < WARM_UP or time.perf_counter() - start < LEAST_SECONDS:
        run()
        passes += 1
        if passes >= 3 and time.perf_counter() - start > MOST_SECONDS / 4:
            break
    if device != "cpu":
        torch.cuda.synchronize(device)


def _timer(device: str) -> Callable[[Callable[[], object]], float]:
    """Takes a pass, returns its milliseconds."""

    def on_cpu(run: Callable[[], object]) -> float:
        start = time.perf_counter()
        run()
        return 1e3 * (time.perf_counter() - start)

    def on_gpu(run: Callable[[], object]) -> float:
        with torch.cuda.device(device):
            before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            before.record()
            run()
            after.record()
            after.synchronize()
            return before.elapsed_time(after)

    return on_cpu if device == "cpu" else on_gpu


def _quartiles(times: list[float]) -> tuple[float, float, float]:
    if len(times) == 1:
        return times[0], times[0], times[0]
    low, median, high = statistics.quantiles(times, n=4, method="inclusive")
    return low, median, high


def _energy(run: Callable[[], object], device: str) -> float | None:
    """Millijoules of a pass, by the driver's counter over many of them; None where there is none."""
    if device == "cpu":
        return None
    with _counter(device) as read:
        if read is None:
            return None
        torch.cuda.synchronize(device)
        start, before, passes = time.perf_counter(), read(), 0
        while time.perf_counter() - start < ENERGY_SECONDS:
            run()
            torch.cuda.synchronize(device)
            passes += 1
        return (read() - before) / passes


@contextmanager
def _counter(device: str) -> Generator[Callable[[], float] | None]:
    """Reads the millijoules that the GPU has used; None without NVML or on cards that do not count."""
    try:
        import pynvml  # pyright: ignore[reportMissingImports]
    except ImportError:
        yield None
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        identity = str(torch.cuda.get_device_properties(device).uuid)  # CUDA may number cards otherwise
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{identity}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError:
        yield None
    else:
        yield lambda: float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle))
    finally:
        pynvml.nvmlShutdown()
