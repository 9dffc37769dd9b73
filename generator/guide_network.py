"""Guides for spaces too large to list: the share of wanted completions, learned from a sample.

    h = E_1[c_1] + ... + E_p[c_p] + b_p            one vector for each code at each position
    share(c_1 ... c_p) = sigmoid(v_p . relu(M [h, h * h] + m) + w_p)

The squares of a sum hold the products of all pairs of codes, as in factorisation machines (Rendle, ICDM
2010): "this feeds that" is a sum over pairs. Learned by saying after each prefix of a sampled sequence how
much the whole is wanted (Yang and Klein, FUDGE, NAACL 2021, section 2). A tree over a sample would know
nothing after a few codes: of 100,000 sequences hardly two share more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vitruvius.generator.guide import checked
from vitruvius.generator.proposers.base import Codes

SHARPNESS = 4.0
"""Power of the learned shares: they err, and little is lost by being strict (docs/benchmarks/control.md)."""

_WIDTH = 32
_STEPS = 1500  # many small batches: half of the mistakes of few large ones in as much time
_BATCH = 256
_RATE = 1e-2


class CodeSample:
    """Code sequences that stand for a space that cannot be listed; makes guides within seconds.

    Attributes:
        codebook_size: K.
        length: L.
    """

    def __init__(self, codes: Codes, codebook_size: int) -> None:
        """Take the sequences (N, L) of architectures drawn uniformly."""
        self.codebook_size, self.length = codebook_size, codes.shape[1]
        numbers = codes + codebook_size * np.arange(self.length)
        # only a few codes ever stand at a position: vectors are learned for these alone
        self._used, places = np.unique(numbers, return_inverse=True)
        self._places = torch.from_numpy(places.reshape(codes.shape))
        self._last: tuple[NDArray[np.float64], NetworkGuide] | None = None

    def guide(self, wanted: NDArray[np.bool_] | NDArray[np.floating[Any]]) -> NetworkGuide:
        """The guide towards some of the sequences and their like; asked again for the same, the same one.

        Args:
            wanted: (N,) how much each sequence is wanted, 0 to 1.

        Raises:
            UserError: Numbers outside of 0 to 1, another number of them, or nothing is wanted.
        """
        weights = checked(wanted, len(self._places))
        if self._last is None or not np.array_equal(self._last[0], weights):
            self._last = weights, self._learn(torch.from_numpy(weights.astype(np.float32)))
        return self._last[1]

    def _learn(self, wanted: Tensor) -> NetworkGuide:
        generator = torch.Generator().manual_seed(0)
        weights = _start(self.length, len(self._used), float(wanted.mean()), generator)
        adam = torch.optim.Adam(weights.values(), lr=_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(adam, _RATE, total_steps=_STEPS, pct_start=0.1)
        for _ in range(_STEPS):
            pick = torch.randint(len(wanted), (_BATCH,), generator=generator)
            said = _said(weights, self._places[pick])  # (batch, L)
            loss = F.binary_cross_entropy_with_logits(said, wanted[pick, None].expand_as(said))
            adam.zero_grad()
            loss.backward()
            adam.step()
            schedule.step()
        learned = {name: weight.detach().numpy() for name, weight in weights.items()}
        shape = (self.length, self.codebook_size)
        known = np.zeros(shape, dtype=np.bool_)
        known.ravel()[self._used[np.unique(self._places[wanted > 0].numpy())]] = True
        vectors = np.zeros((known.size, _WIDTH), dtype=np.float32)
        vectors[self._used] = learned.pop("vectors")
        return NetworkGuide(known, vectors.reshape(*shape, _WIDTH), **learned)


def _start(length: int, used: int, share: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Weights before training: every prefix has the share that is wanted of all."""
    odds = float(np.log(max(share, 1e-6)) - np.log(max(1 - share, 1e-6)))
    bound = (2 * _WIDTH) ** -0.5
    weights = {
        "vectors": 0.1 * torch.randn((used, _WIDTH), generator=generator),
        "bias": torch.zeros(length, _WIDTH),
        "mix": bound * (2 * torch.rand((2 * _WIDTH, _WIDTH), generator=generator) - 1),
        "shift": torch.zeros(_WIDTH),
        "out": torch.zeros(length, _WIDTH),
        "offset": torch.full((length,), odds),
    }
    return {name: weight.requires_grad_() for name, weight in weights.items()}


def _said(weights: dict[str, Tensor], places: Tensor) -> Tensor:
    """Log-odds of being wanted after each prefix, from the places of codes in `vectors` (n, L): (n, L)."""
    hidden = F.embedding(places, weights["vectors"]).cumsum(1) + weights["bias"]
    hidden = F.relu(torch.cat([hidden, hidden * hidden], dim=-1) @ weights["mix"] + weights["shift"])
    return (hidden * weights["out"]).sum(-1) + weights["offset"]


class NetworkGuide:
    """The learned share of wanted completions of every prefix (satisfies `Guide`).

    Forbids only codes that stood at their position in nothing wanted; other hopeless ones become unlikely.
    """

    def __init__(
        self,
        known: NDArray[np.bool_],
        vectors: NDArray[np.float32],
        bias: NDArray[np.float32],
        mix: NDArray[np.float32],
        shift: NDArray[np.float32],
        out: NDArray[np.float32],
        offset: NDArray[np.float32],
    ) -> None:
        """Take the codes at each position of what is wanted (L, K), and weights as `_start` has them."""
        self.length, self.codebook_size = known.shape
        self._known, self._vectors, self._bias, self._mix = known, vectors, bias, mix
        self._shift, self._out, self._offset = shift, out, offset

    def look(self, prefixes: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """See `Guide.look`."""
        place = prefixes.shape[1]
        codes = np.flatnonzero(self._known[place])
        sums = self._sum(prefixes)[:, None] + self._vectors[place, codes]  # (n, c, width)
        found = np.full((len(prefixes), self.codebook_size), -np.inf, dtype=np.float32)
        found[:, codes] = SHARPNESS * self._log_share(sums, place)
        return found

    def weigh(self, codes: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """See `Guide.weigh`."""
        share = np.exp(self._log_share(self._sum(codes), self.length - 1).astype(np.float64))
        return np.where(self._known[np.arange(self.length), codes].all(axis=1), share, 0.0)

    def _sum(self, prefixes: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Sum of the vectors of the codes so far: (n, width)."""
        return self._vectors[np.arange(prefixes.shape[1]), prefixes].sum(axis=1)

    def _log_share(self, sums: NDArray[np.float32], place: int) -> NDArray[np.float32]:
        """Logarithm of the share after the code at a place, from sums (..., width): (...)."""
        hidden = sums + self._bias[place]
        hidden = np.maximum(np.concatenate([hidden, hidden * hidden], axis=-1) @ self._mix + self._shift, 0)
        return -np.logaddexp(0, -(hidden @ self._out[place] + self._offset[place]))

    def positions(self) -> NDArray[np.bool_]:
        """See `Guide.positions`."""
        return self._known

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See `Guide.arrays`."""
        return {
            "known": self._known, "vectors": self._vectors, "bias": self._bias, "mix": self._mix,
            "shift": self._shift, "out": self._out, "offset": self._offset,
        }  # fmt: skip
