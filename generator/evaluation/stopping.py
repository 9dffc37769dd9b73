"""Early stopping inside a rung of halving: who learns more slowly than all leaders is not trained to the end.

The curve that decides is that of the training loss. It costs nothing, and how fast the loss falls tells
networks apart better than an early validation accuracy does (Ru et al., "Speedy Performance Estimation for
Neural Architecture Search", NeurIPS 2021). As the rule of medians (Golovin et al., "Google Vizier", KDD 2017)
it compares a candidate with others at the same epoch, but only with those that led the rung below, as many as
can be promoted: who is behind all of them would not be promoted if training ended there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def bar_of(curves: Sequence[Sequence[float]], epochs: int) -> tuple[float, ...]:
    """The highest training loss after each epoch with which a candidate is still trained on.

    Args:
        curves: Training losses of the leaders by epoch; curves that are not whole are left out.
        epochs: Of the recipe.

    Returns:
        For each epoch that of the worst leader, infinite in the first half, when little can be told; nothing
        where no leader was trained to the end.
    """
    whole = [curve for curve in curves if len(curve) == epochs]
    if not whole:
        return ()
    early = (epochs + 1) // 2 - 1
    return tuple(
        math.inf if epoch < early else max(curve[epoch] for curve in whole) for epoch in range(epochs)
    )
