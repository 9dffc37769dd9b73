"""The far end of a crew: where a worker opens the evaluator it was sent, and measures.

What arrives is a pickle of the evaluator and the space, made by the process that started the worker; what
goes back is plain data.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import cloudpickle

from vitruvius.errors import UserError, VitruviusError
from vitruvius.generator.evaluation.task import Bench, Evaluator, Measurement, Status
from vitruvius.generator.space import SearchSpace


def packed(evaluator: Evaluator, space: SearchSpace, dataset: str) -> bytes:
    """What a worker needs, as bytes; classes of the user's script travel along.

    Raises:
        UserError: The evaluator cannot be sent.
    """
    try:
        inside = cloudpickle.dumps((evaluator, space, dataset))
    except Exception as error:  # whatever the objects in it raise when they are pickled
        raise UserError(
            f"The evaluator {type(evaluator).__name__} cannot be sent to another process ({error}): keep "
            "open files, locks and running processes out of it, or make them in its `open`."
        ) from error
    return cloudpickle.dumps((sys.path, inside))


class Place:
    """One worker's bench. It is opened with the first candidates, so that a failure has a reply."""

    def __init__(self, payload: bytes) -> None:
        """Keep what was sent.

        Args:
            payload: As `packed` made it.
        """
        self._payload = payload
        self._bench: tuple[Bench, SearchSpace] | None = None

    def open(self) -> str | None:
        """Open the evaluator, once; returns why it is refused, None if it is not."""
        if self._bench is not None:
            return None
        try:
            path, inside = cloudpickle.loads(self._payload)
            sys.path += [folder for folder in path if folder not in sys.path]  # for the user's own modules
            evaluator, space, dataset = cloudpickle.loads(inside)
            self._bench = evaluator.open(space, dataset), space
        except Exception as error:  # anything that a user's class raises here would be raised by every worker
            return str(error) if isinstance(error, VitruviusError) else f"{type(error).__name__}: {error}"
        return None

    def measure(self, keys: Sequence[str], seed: int) -> dict[str, Any]:
        """Measure candidates; the reply is read by `outcome`."""
        refused = self.open()
        if refused is not None or self._bench is None:
            return {"refused": refused}
        bench, space = self._bench
        try:
            found = list(bench.measure([space.parse(key) for key in keys], seed=seed))
        except UserError as error:
            return {"refused": str(error)}
        except Exception as error:  # the boundary of a worker: it costs these candidates alone
            return {"failed": f"{type(error).__name__}: {error}"[:500]}
        return {"measurements": [as_plain(one) for one in found]}


def as_plain(measurement: Measurement) -> dict[str, Any]:
    """A measurement as JSON can hold it."""
    plain = asdict(measurement)
    for name in ("score", "seconds", "params", "flops"):  # NumPy's numbers are no JSON
        plain[name] = None if plain[name] is None else float(plain[name])
    plain["latency"] = {name: float(value) for name, value in measurement.latency.items()}
    return {**plain, "status": measurement.status.value, "seed": int(measurement.seed)}


def from_plain(plain: dict[str, Any]) -> Measurement:
    """The measurement again."""
    fields: dict[str, Any] = {**plain, "status": Status(plain["status"])}
    return Measurement(**fields)


def choose_gpu(number: int | None) -> None:
    """Let this process see one GPU only: the one with this number among those that it sees now."""
    if number is not None:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = seen[number] if len(seen) > number and seen[0] else str(number)
