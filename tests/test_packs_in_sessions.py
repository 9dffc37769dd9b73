"""Packs in sessions: taken over when a run begins, refused where they touch its target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from measured_ledger import claim
from typer.testing import CliRunner

import vitruvius as vt
from vitruvius.cli.commands import app as vitruvius
from vitruvius.cli.principles import app
from vitruvius.errors import TargetLeakError
from vitruvius.knowledge.embedders import HashingEmbedder
from vitruvius.knowledge.imports import place_pack
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.packs import export_pack
from vitruvius.knowledge.principle import PrincipleStatus, principle_id


def call(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def quick(run: Path, dataset: str) -> vt.Session:
    """A session that measures its first uniform design, and asks nobody."""
    return vt.Session(vt.Task(f"nasbench-graph/{dataset}"), run, reasoner="none", proposer="uniform")


def test_a_run_takes_over_what_was_placed_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitruvius.knowledge.store.default_embedder", HashingEmbedder)
    graph = replace(claim("gcn >= 1"), status=PrincipleStatus.SUPPORTED)
    proposal = replace(graph.proposal, space="nasbench-graph")
    with Ledger(tmp_path / "o.db") as ledger:
        labels = [("nasbench-graph", "cora")]
        ledger.start_session("s", task="nasbench-graph/cora", seed=0, settings={}, labels=labels)
        file = tmp_path / "graph.json"
        whole = replace(graph, proposal=proposal, id=principle_id(proposal))
        ledger.add_principle(whole, session="s")
        export_pack(ledger, [whole], file, name="graph")
    run = tmp_path / "run"
    place_pack(file, run)
    lines: list[str] = []
    with vt.Session(
        vt.Task("nasbench-graph/citeseer"), run, reasoner="none", proposer="uniform", progress=lines.append
    ) as session:
        session.run(evaluations=10)
        (found,) = session.ledger.principles(session=session.id)
        assert found.origin.pack
        assert [told.task for told in found.evidence.tasks] == ["nasbench-graph/citeseer"]
        assert sum(1 for _ in session.ledger.events(session.id, "imported")) == 1
    assert any("graph: 1 principle taken over" in line for line in lines)
    shown = CliRunner().invoke(vitruvius, ["show", str(run)]).output
    assert "1 came with packs" in shown and "without any effect" not in shown
    with quick(run, "citeseer") as session:  # opening it again takes nothing over twice
        assert sum(1 for _ in session.ledger.events(session.id, "imported")) == 1
    place_pack(file, tmp_path / "leak")
    with pytest.raises(TargetLeakError, match="nasbench-graph/cora"):
        quick(tmp_path / "leak", "cora")
    with quick(tmp_path / "leak", "citeseer"):  # the folder is not spoilt by the refusal
        pass


def test_scores_of_ones_own_make_packs_and_take_them(tmp_path: Path) -> None:
    def told(name: str, operation: str, rounds: int = 1) -> Path:
        task = vt.Task("nasbench-graph", evaluator=vt.Manual(dataset=name))
        run = tmp_path / name
        with vt.Session(task, run, proposer="uniform", finetune_every=0) as session:
            for _ in range(rounds):
                for architecture in session.ask(10):
                    session.tell(architecture, float(architecture.key.count(operation)))
        return run

    mine, file = told("mine", "gat", 4), tmp_path / "mine.json"
    call("export", "--run", mine, "--status", "any", "--to", file)
    shown = CliRunner().invoke(vitruvius, ["show", str(mine)]).output
    assert "not finished: the script that began it goes on with it" in shown
    place_pack(file, tmp_path / "yours")
    assert "pack mine" in call("transfer", "--run", told("yours", "gcn"))
    theirs = told("theirs", "fc")
    assert "The script that began the run tests them" in call("import", file, "--run", theirs)
    with pytest.raises(TargetLeakError, match="nasbench-graph/mine"):
        call("import", file, "--run", mine)
