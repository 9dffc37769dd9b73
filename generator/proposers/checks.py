"""What every proposer checks before it draws."""

from __future__ import annotations

from pathlib import Path

from vitruvius.errors import CheckpointError, UserError
from vitruvius.generator.codes import Codec
from vitruvius.generator.proposers.base import Request

HOTTEST = 2.0
"""The highest temperature that vLLM draws at; the same for all engines."""


def check(request: Request, codec: Codec) -> None:
    """Refuse a request that cannot be drawn with this codec.

    Raises:
        UserError: A number out of range, or a guide for other codes.
    """
    if request.n < 0:
        raise UserError(f"n is {request.n}: the number of sequences cannot be negative.")
    check_temperature(request.temperature)
    if request.seed < 0:
        raise UserError(f"seed is {request.seed}, but seeds are not negative.")
    if request.quantile is not None and not 0 <= request.quantile <= 9:
        raise UserError(
            f"quantile is {request.quantile}, but bands go from 0 (worst tenth) to 9 (best tenth)."
        )
    guide = request.guide
    if guide is not None and (guide.length, guide.codebook_size) != (codec.length, codec.codebook_size):
        raise UserError(
            f"The guide is for {guide.length} codes out of {guide.codebook_size}, but {codec.space.name} has "
            f"{codec.length} out of {codec.codebook_size}: make it with the codec in use."
        )


def check_temperature(temperature: float) -> None:
    """Refuse a temperature that no engine draws at.

    Raises:
        UserError: It is not above 0, or above the highest.
    """
    if not 0 < temperature <= HOTTEST:  # not a number is refused as well
        raise UserError(
            f"temperature is {temperature:g}, but a number above 0 and at most {HOTTEST:g} is needed."
        )


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
