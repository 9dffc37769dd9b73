"""Questions as people word them: none may be answered as another one than was asked."""

from __future__ import annotations

import pytest

from vitruvius.generator.space import get_space
from vitruvius.knowledge.question import Reading, read

TASKS = ("nasbench-graph/cora", "nasbench-graph/arxiv", "nasbench-graph/computers")


def asked(question: str, **changes: object) -> Reading:
    arguments = {"costs": ("params",), "tasks": TASKS, "middles": {"params": 1.5}} | changes
    return read(question, get_space("nasbench-graph"), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("question", "understood", "direction"),
    [
        ("does gcn outperform gat?", "gcn >= 1 rather than gat >= 1", 1),
        ("does gcn beat gat", "gcn >= 1 rather than gat >= 1", 1),
        ("is gcn superior to gat?", "gcn >= 1 rather than gat >= 1", 1),
        ("is gcn inferior to gat?", "gcn >= 1 rather than gat >= 1", -1),
        ("does gcn underperform gat?", "gcn >= 1 rather than gat >= 1", -1),
        ("should I prefer gcn to gat?", "gcn >= 1 rather than gat >= 1", 1),
        ("do three gcn beat one gcn?", "gcn >= 3 rather than gcn == 1", 1),
        ("do two skips help more than two gcn?", "skip >= 2 rather than gcn >= 2", 1),
        ("is gat less harmful than fc?", "gat >= 1 rather than fc >= 1", 1),
        ("does fc hurt less than graph?", "fc >= 1 rather than graph >= 1", 1),
        ("is gcn with gat better than gcn?", "gcn >= 1 and gat >= 1 rather than gcn >= 1 and not (gat >= 1)", 1),
        ("does gcn degrade accuracy?", "gcn >= 1", -1),
        ("is fc detrimental?", "fc >= 1", -1),
        ("should fc be avoided?", "fc >= 1", -1),
        ("is gcn helpful?", "gcn >= 1", 1),
        ("does accuracy suffer without gcn?", "gcn == 0", -1),
        ("does gcn help where gat is absent?", "gcn >= 1, where not (gat >= 1)", 1),
        ("isn't gcn good?", "gcn >= 1", 1),
        ("don't graph layers hurt?", "graph >= 1", -1),
        ("don't use gcn", "gcn == 0", 1),
        ("are cells that don't have gcn better?", "gcn == 0", 1),
        ("does zero gcn hurt?", "gcn == 0", -1),
        ("0 gcn", "gcn == 0", 1),
        ("does graph matter?", "graph >= 1", 0),
        ("does gcn help or hurt?", "gcn >= 1", 0),
        ("does graph have an effect?", "graph >= 1", 0),
        ("what is the effect of replacing gat by gcn?", "gcn >= 1 rather than gat >= 1", 1),
        ("does gcn help at all?", "gcn >= 1", 1),
        ("do models with more than 1M parameters win?", "params > 1M", 1),
    ],
)  # fmt: skip
def test_reading(question: str, understood: str, direction: int) -> None:
    found = asked(question)
    assert (found.text(), found.direction, found.unknown, found.unsure) == (understood, direction, (), ())


@pytest.mark.parametrize(
    "question",
    [
        "gcn > gat?", "Ist gat besser als gcn?", "is a mix of gcn and gat better than gcn?",
        "do gcn and gat interact?", "are gcn and gat redundant?", "does gcn fail to help?", "is gcn useless?",
        "are two gcn too many?", "are 2 or 3 gcn good?", "between 2 and 3 gcn?", "2-3 gcn?", "a hundred gcn?",
        "does gcn help below 1MB?", "does every layer being gcn help?", "does gcn everywhere help?",
        "is gcn the best operation?", "does gcn help when gat and sage are missing?",
        "does gcn help where gat is frobnicated?",
    ],
)  # fmt: skip
def test_what_may_be_another_question_is_not_answered(question: str) -> None:
    found = asked(question)
    assert found.unsure
    assert (found.claim, found.where, found.rival) == (None, None, None)


@pytest.mark.parametrize(
    ("question", "where"),
    [
        ("which operations help under 0.5M parameters?", "params < 0.5M"),
        ("which operations help without fc?", "fc == 0"),
        ("what operations hurt with gcn?", "gcn >= 1"),
        ("which layers help in small models?", "params < 1.5M"),
    ],
)
def test_which_operations_help_may_have_a_condition(question: str, where: str) -> None:
    found = asked(question)
    assert found.claim is None and found.general and not found.unsure
    assert found.where is not None and found.where.text() == where


def test_what_is_large_differs_between_tasks() -> None:
    found = asked("are larger models better?", middles={"params": float("nan")})
    assert (found.claim, found.unsure) == (None, ("larger",))


def test_all_tasks_are_told_one_by_one() -> None:
    for question in (
        "does gcn help on every data set?",
        "does gcn help on all tasks?",
        "does gcn help everywhere?",
    ):
        found = asked(question)
        assert found.text() == "gcn >= 1" and "each of them" in found.notes[0]


def test_data_sets_as_people_write_them() -> None:
    def tasks(question: str) -> frozenset[str]:
        known = ("nasbench201/cifar10", "nasbench201/cifar100", "nasbench201/ImageNet16-120")
        return read(question, get_space("nasbench201"), tasks=known).tasks

    assert tasks("skip on CIFAR-10") == tasks("skip on cifar 10") == {"nasbench201/cifar10"}
    assert tasks("skip on ImageNet") == {"nasbench201/ImageNet16-120"}
    assert tasks("skip on cifar") == {"nasbench201/cifar10", "nasbench201/cifar100"}
    assert asked("gcn on ogbn-arxiv").tasks == {"nasbench-graph/arxiv"}
    assert asked("gcn on amazon computers").tasks == {"nasbench-graph/computers"}
    vision = asked("does gcn help in computer vision?")
    assert (vision.tasks, vision.unknown) == (frozenset(), ("computer", "vision"))


@pytest.mark.parametrize("question", ["????", "help", "1", ""])
def test_no_question_at_all(question: str) -> None:
    found = asked(question)
    assert found.claim is None and (found.unsure or not found.general)
