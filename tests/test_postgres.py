"""A session with its ledger in PostgreSQL; `test_ledger` runs on both kinds of database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.dialects import postgresql

from vitruvius.agents.session import Session
from vitruvius.generator.evaluation.task import Task
from vitruvius.knowledge import principle_rows
from vitruvius.knowledge.ledger import Ledger


def test_a_session_lives_in_postgresql(tmp_path: Path, postgres: str) -> None:
    task = Task("nasbench-graph/cora")
    small: dict[str, Any] = {
        "proposer": "ngram",
        "finetune_every": 0,
        "source_size": 200,
        "pool": 32,
        "local": 32,
    }
    for evaluations in (15, 20):  # the second call resumes
        with Session(task, tmp_path, ledger=postgres, sources=[task.sibling("citeseer")], **small) as session:
            session.run(evaluations)
            assert len(session.curve()) == evaluations
    with Ledger(postgres) as ledger:
        assert ledger.principles(session=session.id)


def test_numbers_that_rank_states_are_wide_enough_elsewhere_too() -> None:
    """PostgreSQL's plain integers end at 2**31 - 1; SQLite's do not, so only this tells here."""
    offset = principle_rows.RANK_OFFSET
    assert isinstance(offset.type, BigInteger)
    assert "BIGINT" in str(offset.compile(dialect=postgresql.psycopg.dialect()))
