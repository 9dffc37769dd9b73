"""A worker process of a `Pool` (run with `python -m`).

It reads its settings and the packed evaluator once, then answers each order with what came of it. It leaves
when its standard input ends, in the middle of a measurement too: no worker outlives who started it.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from typing import IO, Any

from vitruvius.generator.evaluation.frames import read_frame, read_message, write_message
from vitruvius.generator.evaluation.place import Place, choose_gpu


def main() -> None:
    """Serve orders until standard input ends."""
    requests = sys.stdin.buffer
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what evaluators print must not get between the messages
    settings, payload = read_message(requests), read_frame(requests)
    if settings is None or payload is None:
        return
    choose_gpu(settings["gpu"])
    place = Place(payload)
    refused = place.open()
    if refused is not None:
        write_message(replies, {"refused": refused})
        return
    write_message(replies, {"ready": f"process {os.getpid()}"})
    orders = _listen(requests)
    while True:
        order = orders.get()
        write_message(replies, place.measure(order["keys"], order["seed"]))


def _listen(requests: IO[bytes]) -> queue.Queue[dict[str, Any]]:
    """Read orders in a thread of its own, which ends the process when the parent is gone."""
    orders: queue.Queue[dict[str, Any]] = queue.Queue()

    def read() -> None:
        while (order := read_message(requests)) is not None:
            orders.put(order)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return orders


if __name__ == "__main__":
    main()
