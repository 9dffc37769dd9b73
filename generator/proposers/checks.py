"""What every proposer checks before it draws."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitruvius.errors import CheckpointError, UserError
from vitruvius.generator.codes import Codec
from vitruvius.generator.proposers.base import Request


def allowed_of(request: Request, codec: Codec) -> NDArray[np.bool_]:
    """The codes that the request allows at each position, after checking the request: (L, K).

    Raises:
        UserError: A number out of range, a mask of another shape, or a position without any code.
    """
    if request.n < 0:
        raise UserError(f"n is {request.n}: the number of sequences cannot be negative.")
    if not (request.temperature > 0 and math.isfinite(request.temperature)):
        raise UserError(f"temperature is {request.temperature}, but a finite number above 0 is needed.")
    if request.seed < 0:
        raise UserError(f"seed is {request.seed}, but seeds are not negative.")
    if request.quantile is not None and not 0 <= request.quantile <= 9:
        raise UserError(
            f"quantile is {request.quantile}, but bands go from 0 (worst tenth) to 9 (best tenth)."
        )
    shape = (codec.length, codec.codebook_size)
    if request.allowed is None:
        return np.ones(shape, dtype=bool)
    if request.allowed.shape != shape or request.allowed.dtype != np.bool_:
        raise UserError(
            f"allowed is a {request.allowed.dtype} array of shape {request.allowed.shape}, "
            f"but {codec.space.name} needs bool of shape {shape}."
        )
    empty = np.flatnonzero(~request.allowed.any(axis=1))
    if len(empty):
        raise UserError(
            f"No code is allowed at position {int(empty[0])}: allow at least one at each position."
        )
    return request.allowed


def same_codec(codec: Codec, card: dict[str, object], folder: Path) -> None:
    """Refuse a checkpoint that writes the codes of another codec.

    Raises:
        CheckpointError: It does.
    """
    if codec.hash and card.get("codec") != codec.hash:
        raise CheckpointError(
            f"{folder} writes codes of codec {card.get('codec')}, but {codec.hash} is in use. "
            "Train or fine-tune it with the codec in use."
        )
