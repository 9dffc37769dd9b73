"""A ledger in PostgreSQL: VITRUVIUS_TEST_POSTGRES=postgresql+psycopg://user@host/name names an empty database."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import BigInteger
from sqlalchemy.dialects import postgresql

from vitruvius.agents.session import Session
from vitruvius.generator.evaluation.task import Task
from vitruvius.knowledge import principle_rows
from vitruvius.knowledge.ledger import Ledger

URL = os.environ.get("VITRUVIUS_TEST_POSTGRES", "")


@pytest.mark.skipif(not URL, reason="VITRUVIUS_TEST_POSTGRES names no database")
def test_a_session_lives_in_postgresql(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    task = Task("nasbench-graph/cora")
    small: dict[str, Any] = {
        "proposer": "ngram",
        "finetune_every": 0,
        "source_size": 200,
        "pool": 32,
        "local": 32,
    }
    for evaluations in (15, 20):  # the second call resumes
        with Session(task, tmp_path, ledger=URL, sources=[task.sibling("citeseer")], **small) as session:
            session.run(evaluations)
            assert len(session.curve()) == evaluations
    with Ledger(URL) as ledger:
        assert ledger.principles(session=session.id)


def test_numbers_that_rank_states_are_wide_enough_elsewhere_too() -> None:
    """PostgreSQL's plain integers end at 2**31 - 1; SQLite's do not, so only this tells here."""
    offset = principle_rows.RANK_OFFSET
    assert isinstance(offset.type, BigInteger)
    assert "BIGINT" in str(offset.compile(dialect=postgresql.psycopg.dialect()))
