"""A session in a process of its own that kills itself after so many writes: run by test_session.py."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from vitruvius.agents.session import Session
from vitruvius.generator.evaluation.task import Task
from vitruvius.knowledge.ledger import Ledger


def main(folder: str, evaluations: int, writes: int) -> None:
    """Run a small session in `folder`; after `writes` writes to the ledger the process is gone."""
    real = Ledger._write  # pyright: ignore[reportPrivateUsage]
    count = 0

    def write(self: Ledger, *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        result = real(self, *args, **kwargs)
        count += 1
        if count == writes:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    Ledger._write = write  # type: ignore[method-assign]
    task = Task("nasbench-graph/cora")
    with Session(
        task, Path(folder), sources=[task.sibling("citeseer")], proposer="ngram", finetune_every=0,
        source_size=40, pool=32, local=32, reflect_every=10, seed=3,
    ) as session:  # fmt: skip
        session.run(evaluations)
    print("writes", count)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
