"""What evaluators share that measure with another one inside."""

from __future__ import annotations

from vitruvius.generator.evaluation.task import Evaluator
from vitruvius.generator.space import SearchSpace


class Around:
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
