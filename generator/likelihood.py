"""How likely a language model thinks code sequences are: what tells priors apart where validity does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vitruvius.generator.language_model import load_model
from vitruvius.generator.proposers.base import Codes
from vitruvius.generator.threads import threads_for
from vitruvius.generator.vocabulary import Vocabulary


@torch.inference_mode()
def sequence_nats(folder: Path, codes: Codes, batch: int = 256) -> NDArray[np.float64]:
    """Minus the logarithm of the chance that each sequence is what the model writes, unconditionally.

    Only code words count at each position, as when it is sampled from: what a model gives to other words of
    its vocabulary costs nothing.

    Args:
        folder: A checkpoint.
        codes: (n, L) codes of the codec that it writes.
        batch: Sequences at a time.

    Returns:
        (n,) nats.
    """
    vocabulary, model = Vocabulary.load(folder), load_model(folder).eval()
    ids = vocabulary.sequences(codes, np.full(len(codes), -1, dtype=np.int8))
    targets = torch.from_numpy(codes.astype(np.int64))
    found = np.empty(len(codes))
    with threads_for(model):
        for start in range(0, len(codes), batch):
            read = ids[start : start + batch, :-2]  # bos, condition, all codes but the last
            logits = model(input_ids=read).logits[:, 1:, list(vocabulary.codes)].float()  # (n, L, K)
            chosen = targets[start : start + batch, :, None]
            chances = logits.log_softmax(-1).gather(2, chosen)[..., 0]  # (n, L)
            found[start : start + batch] = -chances.sum(1).double().numpy()
    return found
