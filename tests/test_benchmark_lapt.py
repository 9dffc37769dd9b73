"""LAPT's chain in the transfer benchmark, over HTTP with a scripted endpoint."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scripted_endpoint import Endpoint, endpoint, fails, says

from vitruvius.errors import ModelError, UserError
from vitruvius.generator.evaluation.task import Task

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
_ = endpoint  # the fixture, for pytest to find


@pytest.fixture
def methods() -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("_transfer_methods")
    importlib.import_module("_lapt_chain")._chat.cache_clear()
    sys.path.remove(str(BENCHMARKS))


def lists(task: Task, *numbers: int) -> str:
    return json.dumps({decision.name: list(numbers) for decision in task.space.decisions})


def run(methods: ModuleType, task: Task, evaluations: int = 12) -> Any:
    sources = [task.sibling("citeseer")]
    return methods.run_method("lapt-model", task, sources, 250, evaluations, 0, {}, model="openai:m")


def roles(request: dict[str, Any]) -> list[str]:
    return [message["role"] for message in request["messages"]]


def test_the_chain_is_asked_and_the_search_stays_in_its_lists(
    endpoint: Callable[..., Endpoint], methods: ModuleType
) -> None:
    task = Task("nasbench-graph/cora")
    served = endpoint(says("flow"), says("patterns"), says("principles"), says(lists(task, 0, 1, 2)))
    found = run(methods, task)
    assert len(found.curve.ids) == len(set(found.curve.ids)) == 12
    rows = task.space.parse_many(found.curve.keys[:10])
    operations = rows[:, 4:]  # links change when nodes are put in order
    assert operations.max() <= 2 and operations.min() >= 0
    assert found.notes == {"requests": len(served.requests), "lists that no reply gave": 0}
    first = served.requests[:4]
    assert [len(roles(one)) for one in first] == [2, 4, 6, 8]
    assert "response_format" not in first[2] and "response_format" in first[3]
    shown = first[1]["messages"][-1]["content"]
    source = methods.measure([task.sibling("citeseer")], 250, 0)[0]
    best = [str(row) for row in source.rows[source.order[:50]].tolist()]
    assert [line for line in shown.splitlines() if line.startswith("[")] == best
    assert "0." not in shown, "no score is shown, as in the paper"


def test_after_ten_evaluations_the_best_found_are_shown_or_others_are_asked_for(
    endpoint: Callable[..., Endpoint], methods: ModuleType
) -> None:
    task = Task("nasbench-graph/cora")
    served = endpoint(
        says("flow"),
        says("patterns"),
        says("principles"),
        says(lists(task, 0, 1, 2)),
        says(lists(task, 3, 4)),
    )
    found = run(methods, task, 20)
    assert len(served.requests) == 6
    better, later = served.requests[4], served.requests[5]
    shown = [line for line in better["messages"][-1]["content"].splitlines() if line.startswith("[")]
    rows = task.space.parse_many(found.curve.keys[:10])
    scores = np.array([float(score or 0.0) for score in found.curve.scores[:10]])
    assert len(shown) == 5 and len(roles(better)) == 10
    assert str(task.space.normalise(np.array([json.loads(shown[0])], dtype=np.int8))[0].tolist()) == str(
        rows[scores.argmax()].tolist()
    )
    stuck = "hardly find" in later["messages"][-1]["content"]
    assert len(roles(later)) == (10 if stuck else 12), "what is stuck is asked in the original conversation"


def test_what_no_reply_gives_stays_open_and_is_counted(
    endpoint: Callable[..., Endpoint], methods: ModuleType
) -> None:
    task = Task("nasbench-graph/cora")
    some = {decision.name: [0] for decision in task.space.decisions[:2]} | {"op3": "gcn", "op4": [77]}
    endpoint(says("flow"), says("patterns"), says("principles"), says(json.dumps(some)), says("no JSON"))
    found = run(methods, task)
    decisions = len(task.space.decisions)
    assert found.notes["lists that no reply gave"] == decisions - 2 + decisions


def test_a_model_that_says_nothing_ends_in_one_sentence(
    endpoint: Callable[..., Endpoint], methods: ModuleType
) -> None:
    endpoint(fails(401))
    with pytest.raises(ModelError, match=r"LAPT's chain with openai:m: .+"):
        run(methods, Task("nasbench-graph/cora"))
    with pytest.raises(UserError, match="--model"):
        methods.run_method("lapt-model", Task("nasbench-graph/cora"), [], 50, 10, 0, {})
