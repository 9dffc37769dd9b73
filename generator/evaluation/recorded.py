"""A step of training recorded once as a CUDA graph and replayed.

A step of a small network is a thousand short kernels, and starting them takes longer than running them. The
recording is started as one. The first steps run as they are: they are what libraries need to choose their
kernels and optimisers to make their state, and they are steps of the training like all others.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

WARM = 3
"""Steps that run as they are before one is recorded."""


class Recorded:
    """Calls a function that works on the GPU only; from its fourth call on by replaying a recording.

    The function must do the same each time: what changes stands in tensors that it reads.
    """

    def __init__(self, step: Callable[[], None]) -> None:
        """Set up; nothing is called yet."""
        self._function = step
        self._calls = 0
        self._side = torch.cuda.Stream()
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        """Take a step."""
        self._calls += 1
        if self._calls <= WARM:
            self._side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._side):
                self._function()
            torch.cuda.current_stream().wait_stream(self._side)
            return
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            # recording runs nothing: this step's work is done by the first replay below
            with torch.cuda.graph(self._graph, stream=self._side):
                self._function()
        self._graph.replay()
