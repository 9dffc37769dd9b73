"""Learning from sources: what is held back of one in another space stays hidden too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from described_spaces import CHAIN, described

from vitruvius.agents.measuring import told
from vitruvius.agents.reasoner import Brief, Reflection
from vitruvius.agents.session import Session
from vitruvius.agents.statistics import StatisticsReasoner
from vitruvius.generator.evaluation.manual import Manual
from vitruvius.generator.evaluation.task import Task
from vitruvius.knowledge.share import Share


def test_what_another_space_holds_back_is_not_proposed_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    briefs: list[Brief] = []

    class Spied(StatisticsReasoner):
        def reflect(self, brief: Brief) -> Reflection:
            briefs.append(brief)
            return super().reflect(brief)

    monkeypatch.setattr("vitruvius.agents.sources.StatisticsReasoner", Spied)
    space = described(tmp_path, CHAIN.replace("test-chain", "test-sources"))
    source = Task(f"{space.name}/flowers", Manual())
    target = Task("nasbench201", evaluator=Manual())
    rows = np.random.default_rng(0).permutation(space.enumerate())[:60]
    settings: dict[str, Any] = {"proposer": "uniform", "finetune_every": 0}
    with Session(target, sources=[source], **settings) as session:
        for at, one in enumerate(space.architectures(rows)):
            share = Share.SOURCE if at < 30 else Share.HELD
            score = 0.0 if at < 30 else float(one.key.count("skip"))  # only what is hidden shows an effect
            session.journal.record(told(source, one, score, ""), batch=0, share=share)
        session.journal.freeze_reference(source.name)
        session.learn_sources()
        carried = session.journal.event("carried over", 1)
    assert carried is not None and carried["principles"] == []
    ((seen,),) = [brief.observations for brief in briefs]
    assert len(seen) == 30 and not seen.held.any()
