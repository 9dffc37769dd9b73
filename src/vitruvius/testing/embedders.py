"""What every embedder must hold. Subclass it, and give a fixture named `embedder`."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from vitruvius.knowledge.embedders import Embedder

_TEXTS = [
    "Skip connections from the input raise accuracy.",
    "Many pooling layers lower the accuracy.",
    "",
    "tiefe Netze überanpassen 深い",
    "word " * 2000,
]


class EmbedderContract:
    """Tests that an embedder passes.

    Example:
        class TestMine(EmbedderContract):
            @pytest.fixture
            def embedder(self):
                return Mine()
    """

    def test_shape_and_length(self, embedder: Embedder) -> None:
        """(n, d) float32 rows of length 1, for any text."""
        vectors = embedder.embed(_TEXTS)
        assert vectors.shape == (len(_TEXTS), embedder.dimension)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-4)

    def test_no_texts(self, embedder: Embedder) -> None:
        """No texts give no rows."""
        assert embedder.embed([]).shape == (0, embedder.dimension)

    def test_company_does_not_matter(self, embedder: Embedder) -> None:
        """A text has one vector, alone or among others."""
        together = embedder.embed(_TEXTS)
        alone = np.concatenate([embedder.embed([text]) for text in _TEXTS])
        np.testing.assert_allclose(together, alone, atol=1e-4)

    def test_many(self, embedder: Embedder) -> None:
        """Order is kept over batches."""
        texts = [f"principle number {number}" for number in range(150)]
        vectors = embedder.embed(texts)
        np.testing.assert_allclose(
            vectors[[0, 77, 149]], embedder.embed([texts[0], texts[77], texts[149]]), atol=1e-4
        )

    def test_near_texts_are_near(self, embedder: Embedder) -> None:
        """A question is nearer to a sentence about it than to others."""
        question, about, other = embedder.embed(["where do skip connections help?", _TEXTS[0], _TEXTS[1]])
        assert question @ about > question @ other

    def test_same_in_another_process(self, embedder: Embedder) -> None:
        """Vectors may be kept: another process, with another hash seed, finds the same."""
        kind = type(embedder)
        code = (
            f"import sys; from {kind.__module__} import {kind.__qualname__} as Kind; "
            f"sys.stdout.buffer.write(Kind().embed([{_TEXTS[0]!r}]).tobytes())"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=120)
        other = np.frombuffer(done.stdout, dtype=np.float32)
        np.testing.assert_allclose(other, embedder.embed([_TEXTS[0]])[0], atol=1e-4)
