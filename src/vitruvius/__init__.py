"""Vitruvius searches for neural network architectures with language models, and remembers what it learned.

    import vitruvius as vt

    task = vt.Task("nasbench-graph/cora")
    session = vt.Session(task, path="runs/demo", sources=[task.sibling("citeseer")])
    print(session.run(evaluations=50))

The names below are loaded when they are first used, so that the import itself is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitruvius.agents.options import Options
    from vitruvius.agents.results import Best
    from vitruvius.agents.session import Session
    from vitruvius.errors import VitruviusError
    from vitruvius.generator.evaluation.function import Function
    from vitruvius.generator.evaluation.manual import Manual
    from vitruvius.generator.evaluation.pool import Pool
    from vitruvius.generator.evaluation.ray_cluster import Ray
    from vitruvius.generator.evaluation.scored import ZeroCost
    from vitruvius.generator.evaluation.table import Table
    from vitruvius.generator.evaluation.task import Measurement, Metric, Status, Task
    from vitruvius.generator.evaluation.train import Train
    from vitruvius.generator.evaluation.with_latency import WithLatency
    from vitruvius.generator.space import Architecture, SearchSpace, get_space
    from vitruvius.knowledge.cost_rules import CostRule, cost_rules
    from vitruvius.knowledge.ledger import Ledger
    from vitruvius.knowledge.predicate import Predicate
    from vitruvius.knowledge.principle import Principle, PrincipleStatus, Proposal
    from vitruvius.knowledge.store import Store

_HOMES = {
    "Architecture": "generator.space",
    "Best": "agents.results",
    "CostRule": "knowledge.cost_rules",
    "Function": "generator.evaluation.function",
    "Ledger": "knowledge.ledger",
    "Manual": "generator.evaluation.manual",
    "Measurement": "generator.evaluation.task",
    "Metric": "generator.evaluation.task",
    "Options": "agents.options",
    "Pool": "generator.evaluation.pool",
    "Predicate": "knowledge.predicate",
    "Principle": "knowledge.principle",
    "PrincipleStatus": "knowledge.principle",
    "Proposal": "knowledge.principle",
    "Ray": "generator.evaluation.ray_cluster",
    "SearchSpace": "generator.space",
    "Session": "agents.session",
    "Status": "generator.evaluation.task",
    "Store": "knowledge.store",
    "Table": "generator.evaluation.table",
    "Task": "generator.evaluation.task",
    "Train": "generator.evaluation.train",
    "VitruviusError": "errors",
    "WithLatency": "generator.evaluation.with_latency",
    "ZeroCost": "generator.evaluation.scored",
    "cost_rules": "knowledge.cost_rules",
    "get_space": "generator.space",
}

__version__ = "0.1.0"
__all__ = [
    "Architecture", "Best", "CostRule", "Function", "Ledger", "Manual", "Measurement", "Metric", "Options",
    "Pool", "Predicate", "Principle", "PrincipleStatus", "Proposal", "Ray", "SearchSpace", "Session",
    "Status", "Store", "Table", "Task", "Train", "VitruviusError", "WithLatency", "ZeroCost", "cost_rules",
    "get_space",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vitruvius' has no attribute {name!r}")
    return getattr(importlib.import_module(f"vitruvius.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
