"""Why an architecture was measured: the part of the budget that it belongs to."""

from __future__ import annotations

from enum import StrEnum


class Share(StrEnum):
    """Part of the budget; the text stands in the ledger and in every output."""

    INITIAL = "initial"
    """Uniform design that a session starts with."""
    OPEN = "open"
    """Drawn uniformly from the whole space, whatever was pruned."""
    EXPERIMENT = "experiment"
    """Asked for by the reasoner; takes places of the open share, but is not uniform."""
    MODEL = "model"
    """Written by the code model."""
    DRAWN = "drawn"
    """Drawn uniformly from what is left of the space, where no model writes."""
    LOCAL = "local"
    """Near the best so far."""
    TRANSFER = "transfer"
    """Proposed by the sources."""
    TOLD = "told"
    """Measured by the user, not asked for."""
    SOURCE = "source"
    """Of a source task: reasoners may see it."""
    HELD = "held"
    """Of a source task: held back from reasoners, fresh evidence for what they propose."""

    @property
    def uniform(self) -> bool:
        """Whether it is drawn uniformly from the whole space: effects are estimated on such."""
        return self in (Share.INITIAL, Share.OPEN, Share.SOURCE, Share.HELD)

    @property
    def unpruned(self) -> bool:
        """Whether it takes its place in the open share of the budget."""
        return self in (Share.OPEN, Share.EXPERIMENT)
