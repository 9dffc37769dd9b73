"""A worker process of a `Pool` (run with `python -m`).

It reads its settings and the packed evaluator once, then answers each order with what came of it. It leaves
when its standard input ends, in the middle of a measurement too: no worker outlives who started it.
"""

from __future__ import annotations

import os

from vitruvius.generator.evaluation.as_child import listen, take_pipes
from vitruvius.generator.evaluation.frames import read_frame, read_message, write_message
from vitruvius.generator.evaluation.place import Place, choose_gpu


def main() -> None:
    """Serve orders until standard input ends."""
    requests, replies = take_pipes()
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
    orders = listen(requests)
    while True:
        order = orders.get()
        write_message(replies, place.measure(order["keys"], order["seed"]))


if __name__ == "__main__":
    main()
