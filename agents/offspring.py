"""Local candidates: neighbours of good architectures, for spaces where drawing alone rarely comes near."""

from __future__ import annotations

import numpy as np

from vitruvius.generator.space import Choices, SearchSpace


def mutate(space: SearchSpace, parents: Choices, n: int, rng: np.random.Generator) -> Choices:
    """Up to n distinct architectures one or two decisions away from the parents.

    All single steps come first, in random order; two steps fill what is left. No decision or choice is
    preferred.

    Args:
        space: The search space.
        parents: (p, D) rows to start from.
        n: How many are wanted.
        rng: All randomness comes from here.

    Returns:
        (m, D) rows, m <= n, none of them a parent.
    """
    if n <= 0 or len(parents) == 0:
        return parents[:0]
    seen = set(space.numbers(parents).tolist())
    near = _new(space, np.concatenate([space.neighbours(parent[None]) for parent in parents]), seen)
    near = near[rng.permutation(len(near))]
    found, count = [near[:n]], min(len(near), n)
    for start in near[rng.permutation(len(near))]:
        if count >= n:
            break
        steps = space.neighbours(start[None])
        steps = _new(space, steps[rng.permutation(len(steps))[:4]], seen)[: n - count]
        found.append(steps)
        count += len(steps)
    return np.concatenate(found)


def _new(space: SearchSpace, rows: Choices, seen: set[int]) -> Choices:
    """The rows that were not seen before, once each; they are marked as seen."""
    keep: list[int] = []
    for position, number in enumerate(space.numbers(rows).tolist()):
        if number not in seen:
            seen.add(number)
            keep.append(position)
    return rows[keep]
