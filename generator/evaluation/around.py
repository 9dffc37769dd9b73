"""What evaluators share that hold processes, or measure with another one inside."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from vitruvius.generator.evaluation.task import Evaluator
from vitruvius.generator.space import SearchSpace


class Closes:
    """Something that is closed at the end of a `with`; it outlives the sessions that use it."""

    def close(self) -> None:
        """Let go of what is held; calling twice is allowed."""

    def __enter__(self) -> Self:
        """For `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


class Around(Closes):
    """An evaluator around another: its measurements are those of the one inside.

    Attributes:
        evaluator: The one inside.
    """

    evaluator: Evaluator

    @property
    def name(self) -> str:
        """That of the evaluator inside."""
        return self.evaluator.name

    @property
    def tabular(self) -> bool:
        """As the evaluator inside."""
        return self.evaluator.tabular

    def datasets(self, space: SearchSpace) -> list[str]:
        """As the evaluator inside."""
        return self.evaluator.datasets(space)

    def close(self) -> None:
        """Close the evaluator inside, where it can be."""
        close = getattr(self.evaluator, "close", None)
        if callable(close):
            close()
