"""Sessions and pruning on the large spaces, with a codec and a language model of a few seconds' training."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from described_spaces import HUGE, described

from vitruvius.agents.session import Session
from vitruvius.generator import library, training
from vitruvius.generator.corpus_training import LanguageModelSettings
from vitruvius.generator.evaluation.manual import Manual
from vitruvius.generator.evaluation.task import Task
from vitruvius.generator.language_model import train_language_model
from vitruvius.generator.library import CodeModel, settings_for
from vitruvius.generator.proposers import uniform
from vitruvius.generator.space import Choices, SearchSpace, get_space
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.principle import (
    Effect,
    Evidence,
    Origin,
    Principle,
    PrincipleStatus,
    Proposal,
    principle_id,
)
from vitruvius.knowledge.pruning import prune


def tiny_model(space: SearchSpace, folder: Path) -> CodeModel:
    """Codec and language model that saw 1,000 architectures for a moment."""

    def few(space: SearchSpace, sample: int, rng: np.random.Generator) -> Choices:
        return np.unique(space.sample(1_000, rng), axis=0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "architectures_of", few)
        settings = training.CodecSettings(steps=30, batch=64, warm=15)
        codec, _ = training.train_codec(space, seed=0, settings=settings)
    codec.save(folder / "codec")
    rows = few(space, 0, np.random.default_rng(1))
    small = LanguageModelSettings(hidden=32, heads=1, layers=1, steps=2, large=10**9)
    checkpoint = train_language_model(codec, folder / "language_model", seed=0, rows=rows, settings=small)
    return CodeModel(folder, codec, checkpoint, {})


@pytest.fixture(scope="module", params=["darts", "nasbench101"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CodeModel:
    return tiny_model(get_space(request.param), tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("proposer", ["uniform", "ngram"])
def test_a_session_asks_and_is_told(
    proposer: Literal["ngram", "uniform"], model: CodeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = model.codec.space
    monkeypatch.setattr(library, "load_or_train", lambda *_args, **_named: model)
    monkeypatch.setattr(uniform, "_ENUMERABLE", 0)  # encoding all of NAS-Bench-101 takes too long here
    wanted = Predicate.parse("depth >= 3")
    seen: list[str] = []
    with Session(
        Task(space.name, Manual()), tmp_path / "run", proposer=proposer, finetune_every=0, pool=16, local=8
    ) as session:
        for _ in range(8):
            for architecture in session.ask(2):
                assert space.parse(architecture.key) == architecture
                seen.append(architecture.id)
                session.tell(architecture, float(wanted.holds_one(architecture)))
        assert session.best().measurement.score == 1.0
        batches = [event.data for event in session.ledger.events(session.id, "batch")]
    assert len(set(seen)) == len(seen) == 16
    assert sum(batch["pool"].get("asked", 0) for batch in batches) > 0, "the proposer was never asked"


def test_pruning_a_space_that_cannot_be_listed_goes_by_a_sample() -> None:
    space = get_space("darts")
    proposal = Proposal("no pooling", Predicate.parse("maxpool3x3 <= 2").to_json(), "darts", direction=1)
    principle = Principle(
        principle_id(proposal), proposal, Origin("person"), PrincipleStatus.SUPPORTED,
        Evidence((), Effect(0.3, 0.2, 0.4, 50, 50, 1e4)),
    )  # fmt: skip
    restriction = prune(space, [principle], remaining=50)
    fresh = space.sample(20_000, np.random.default_rng(9))
    holds = Predicate.parse("maxpool3x3 <= 2").holds(Population(space, fresh))
    assert restriction.hard and (restriction.inside(fresh) == holds).all()
    assert restriction.share == pytest.approx(holds.mean(), abs=0.02)
    assert restriction.describe()[-1].startswith("about ")


def test_a_space_of_free_choices_is_learned_from_few_lessons(tmp_path: Path) -> None:
    """A model of it has only to learn that every choice is as likely as the others."""
    usual = (training.CodecSettings(), LanguageModelSettings())
    assert settings_for(get_space("darts")) == settings_for(get_space("nasbench201")) == usual
    codec, language = settings_for(described(tmp_path, HUGE))
    assert codec.sample == language.sample < usual[0].sample and language.batch < usual[1].batch
    mine = training.CodecSettings(steps=3)
    assert settings_for(described(tmp_path, HUGE), mine)[0] is mine
