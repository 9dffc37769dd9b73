"""Matrix products in bfloat16 where the processor has them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware; elsewhere it would be slower than float32."""
    known = torch.cpu.get_capabilities()
    return any(known.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


@contextmanager
def mixed_precision(model: Any) -> Generator[None]:
    """Train a model of transformers with products in bfloat16, sums and weights in float32.

    A training step takes less than half the time so. Attention is written out meanwhile: the fused one has
    no fast backward pass in bfloat16 on a processor, and alone would take longer than all else in float32.
    Without such a processor nothing changes.
    """
    if not has_bfloat16():
        yield
        return
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            yield
    finally:
        model.set_attn_implementation(before)
