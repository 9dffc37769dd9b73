"""Summary, terminal page and HTML report of a ledger whose facts are known."""

from __future__ import annotations

import io
import itertools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from vitruvius.agents.reasoner import ModelCall
from vitruvius.errors import UserError
from vitruvius.figures import curves, interval
from vitruvius.findings import Summary
from vitruvius.generator.evaluation.task import Measurement, Status, Task
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.predicate import Predicate
from vitruvius.knowledge.principle import (
    Effect,
    Evidence,
    Origin,
    Principle,
    PrincipleStatus,
    Proposal,
    TaskEvidence,
    principle_id,
)
from vitruvius.knowledge.share import Share
from vitruvius.report import render, write_report
from vitruvius.summary import best_so_far, summarise

TASK = "nasbench-graph/cora"
HOSTILE = "<script>alert('x')</script> gcn helps"
FRESH = Effect(0.21, 0.12, 0.30, holding=7, lacking=9)
SEEN = Effect(0.33, 0.10, 0.56, holding=20, lacking=30)


def principle(sentence: str, status: PrincipleStatus, fresh: Effect | None) -> Principle:
    predicate = Predicate.parse("gcn >= 1").to_json()
    proposal = Proposal(sentence, predicate, "nasbench-graph", direction=1 if fresh else -1)
    on_task = TaskEvidence(TASK, SEEN, fresh, supporting=("a", "b", "c"), contradicting=("d",))
    return Principle(
        principle_id(proposal), proposal, Origin("vllm:smollm2"), status, Evidence((on_task,), fresh)
    )


def failed(task: Task, key: str) -> Measurement:
    architecture = task.space.parse(key)
    return Measurement(
        task.space.name, task.name, key, architecture.id, Status.OUT_OF_MEMORY, None, reason="12 GB asked"
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder: ten initial evaluations, four more under a restriction, one failure."""
    task = Task(TASK)
    space = task.space
    rows = space.enumerate()[np.linspace(10, 26_000, 15).astype(int)]
    measured = list(task.bench.measure(space.architectures(rows)))
    with Ledger(tmp_path / "ledger.db") as ledger:
        settings = {"metric": task.metric.name, "maximize": True, "reasoner": "vllm:smollm2"}
        ledger.start_session("session", task=TASK, seed=0, settings=settings, labels=[task.label])

        def log(kind: str, data: dict[str, object], number: int | None = None) -> None:
            ledger.log("session", kind, data, number=number)

        sources = [{"task": "nasbench-graph/photo", "seen": 100, "held": 90}]
        plan = {"task": TASK, "evaluations": 14, "unit": "%", "proposer": "vllm", "sources": sources}
        log("plan", {**plan, "lines": ["budget 14"]}, 0)
        log("batch", {"keys": [], "pool": {}}, 0)
        for measurement in measured[:10]:
            ledger.record(measurement, session="session", batch=0, share=Share.INITIAL)
        log("reference", {"task": TASK, "scores": sorted(m.score or 0.0 for m in measured[:10])}, 0)
        good = principle(HOSTILE, PrincipleStatus.SUPPORTED, FRESH)
        ledger.add_principle(good, session="session")
        ledger.add_principle(principle("gcn harms", PrincipleStatus.REFUTED, None), session="session")
        term = {"principle": good.id, "predicate": good.proposal.predicate, "wanted": True}
        terms = [{**term, "strength": 0.12, "hard": True}]
        cut = {"space": space.name, "share": 0.4, "sharpness": 3.0, "terms": terms}
        log("restriction", {"share": 0.4, "lines": ["only gcn >= 1"], "restriction": cut}, 0)
        pool = {"asked": 100, "unfinished": 1, "invalid": 2, "duplicate": 30, "known": 4, "outside": 5}
        log("batch", {"keys": [], "pool": {**pool, "kept": 58, "seconds": 1.5}}, 1)
        for measurement, share in zip(measured[10:14], [Share.OPEN] * 2 + [Share.MODEL] * 2, strict=True):
            ledger.record(measurement, session="session", batch=1, share=share)
        ledger.record(failed(task, measured[14].key), session="session", batch=1, share=Share.MODEL)
        log(
            "reflection",
            {"proposed": [good.id], "refused": {"no JSON": 2}, "notes": ["gave up"], "seconds": 3},
        )
        call = ModelCall("vllm:smollm2", "principles", "h", "i", "reply", 400, 80, 2.5, "repaired")
        ledger.add_call("session", call)
        log("timing", {"part": "evaluation", "seconds": 1.0})
        log("timing", {"part": "generation", "seconds": 4.0})
        log("timing", {"part": "evaluation", "seconds": 2.0})
        log("warning", {"text": "vLLM is not used"})
        log("baseline", {"method": "random", "curve": [60.0] * 14}, 0)
        log("done", {"counted": 14, "paid": 15}, 14)
    return tmp_path


@pytest.fixture
def summary(run: Path) -> Summary:
    return summarise(run)


def test_budget_is_counted_and_paid_apart(summary: Summary) -> None:
    assert (summary.planned, summary.counted, summary.paid) == (14, 14, 15)
    assert summary.failures == {"out_of_memory": 1}
    assert summary.finished


def test_curve_is_the_best_so_far(summary: Summary) -> None:
    known = [score for score in summary.curve if score is not None]
    assert len(known) == 14
    assert known == sorted(known)
    assert summary.best is not None
    assert summary.best.score == known[-1]
    assert summary.curve.index(known[-1]) + 1 == summary.best.evaluation
    assert summary.baselines == {"random": (60.0,) * 14}


@pytest.mark.parametrize(
    ("scores", "maximize", "expected"),
    [
        ([1.0, 3.0, 2.0], True, (1.0, 3.0, 3.0)),
        ([1.0, 3.0, 0.5], False, (1.0, 1.0, 0.5)),
        ([None, 2.0, None], True, (None, 2.0, 2.0)),
        ([], True, ()),
    ],
)
def test_best_so_far(scores: list[float | None], maximize: bool, expected: tuple[float | None, ...]) -> None:
    assert best_so_far(scores, maximize=maximize) == expected


def test_winners_agree_with_supported_principles_only(summary: Summary) -> None:
    space = Task(TASK).space
    for winner in summary.winners:
        has_gcn = "gcn" in space.parse(winner.key).named().values()
        assert winner.principles == ((f"{HOSTILE} (gcn >= 1: better)",) if has_gcn else ())
        assert winner.drawing == space.draw(space.parse(winner.key))
        assert winner.choices == space.parse(winner.key).named()


def test_seen_and_fresh_evidence_stay_apart(summary: Summary) -> None:
    first, second = summary.principles
    assert (first.status, second.status) == ("supported", "refuted")
    assert (first.tasks[0].seen, first.tasks[0].fresh) == (SEEN, FRESH)
    assert second.fresh is None
    assert (first.n_for, first.n_against) == (3, 1)


def test_cost_of_pruning_is_told_by_open_draws_under_the_restriction(summary: Summary) -> None:
    effect = summary.pruning_effect
    if effect is None:
        assert "cannot be told" in summary.pruning_cost
    else:
        assert effect.holding + effect.lacking == 2
    assert summary.cuts[0].share == 0.4


def test_refusals_timing_and_calls_are_added_up(summary: Summary) -> None:
    assert summary.refused["principle: no JSON"] == 2
    assert summary.refused["codes that decode to no architecture"] == 2
    assert summary.timing == {"generation": 4.0, "evaluation": 3.0}
    (call,) = summary.calls
    assert (call.calls, call.outcomes, call.tokens_in, call.tokens_out) == (1, {"repaired": 1}, 400, 80)


def test_summary_is_plain_data(summary: Summary) -> None:
    assert json.loads(json.dumps(summary.as_json()))["counted"] == 14


def test_terminal_page_shows_what_matters(summary: Summary) -> None:
    page = terminal_page(summary)
    assert summary.best is not None
    for expected in (summary.best.key, HOSTILE, "+0.21 [+0.12, +0.30]", "14 of 14 counted, 15 paid", "random",
                     "only gcn >= 1", "vitruvius report", "warning: vLLM is not used", "1 out_of_memory"):  # fmt: skip
        assert expected in page


class _Page(HTMLParser):
    """Collects tags and everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [
            f"{name}={value}" for name, value in attrs if name in ("src", "href", "data", "action")
        ]
        if tag not in ("meta", "br", "path", "circle", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("path", "circle", "polyline"):
            assert self.open.pop() == tag


def test_report_is_one_file_without_script_or_request(run: Path) -> None:
    path = write_report(run)
    assert path == run / "report.html"
    text = path.read_text()
    page = _Page()
    page.feed(text)
    assert not page.open
    assert "script" not in page.tags
    assert not page.fetched
    assert not re.search(r"url\(|@import|https?://", text)
    assert "default-src 'none'" in text
    assert page.tags.count("svg") >= 3


def test_report_names_every_part(summary: Summary) -> None:
    page = render(summary)
    for part in ("Best architectures", "Best so far", "Budget", "Principles", "Pruning", "Refused",
                 "Where time went", "Model calls", "Settings"):  # fmt: skip
        assert f"<h2>{part}</h2>" in page
    assert "&lt;script&gt;alert" in page
    assert "40.0 % of the space left" in page
    limited = replace(summary, constraint="params < 1M: 9 of 10 architectures are feasible")
    assert "40.0 % of what the constraint allows left" in render(limited)
    tabled = replace(summary, tabled="2,021 of 26,206 architectures")
    assert "40.0 % of what the table has left" in render(tabled)
    assert "table: 2,021 of 26,206 architectures" in terminal_page(tabled)
    assert "</code>, session" not in page  # in a ledger of its own each is called "session"
    assert "session <code>mine-1</code>" in render(replace(summary, session="mine-1"))
    assert summary.pruning_cost.replace("'", "&#39;") in page


def test_test_metric_only_when_asked_for(run: Path, tmp_path: Path) -> None:
    plain = write_report(run, tmp_path / "plain.html").read_text()
    shown = write_report(run, tmp_path / "out" / "test.html", reveal_test=True).read_text()
    assert "<h2>Test metric</h2>" not in plain
    from vitruvius.generator.evaluation.revealed import reveal_test

    task = Task(TASK)
    best = summarise(run).best
    assert best is not None
    value = reveal_test(task)(task.space.parse(best.key))
    assert f"<td>{value:.4g}</td>" in shown


def test_unfinished_session_can_be_shown(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        settings = {"metric": "accuracy", "maximize": True}
        ledger.start_session("session", task=TASK, seed=0, settings=settings, labels=[])
    summary = summarise(tmp_path)
    assert summary.best is None
    assert not summary.finished
    assert "Nothing has a score yet" in render(summary)
    assert "nothing has a score yet" in terminal_page(summary)


def terminal_page(summary: Summary) -> str:
    """What `vitruvius show` prints."""
    from vitruvius.cli.show import print_summary

    out = io.StringIO()
    print_summary(summary, Console(file=out, width=100))
    return out.getvalue()


def test_what_the_winner_takes_on_a_device_is_shown(run: Path) -> None:
    summary = summarise(run)
    best = summary.best
    assert best is not None and list(best.latency) == ["benchmark"]  # what the table has
    told = f"{best.latency['benchmark']:.3g} ms on benchmark"
    assert told in terminal_page(summary) and told in render(summary)
    many = replace(best, latency={str(n): 1.0 for n in range(4)})
    one_of_many = replace(summary, winners=(many,))
    assert " ms on " not in terminal_page(one_of_many)
    asked = replace(one_of_many, asked=("params", "latency[2]"))
    for page in (terminal_page(asked), render(asked)):
        assert page.count(" ms on ") == 1 and "1 ms on 2" in page


@pytest.mark.parametrize(("unit", "shown"), [("%", "%"), ("fraction", ""), ("score", "")])
def test_a_unit_stands_behind_a_number_where_it_says_something(tmp_path: Path, unit: str, shown: str) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        settings = {"where": "params < 1M and latency[pixel3] < 12ms", "reasoner": "none"}
        ledger.start_session("session", task=TASK, seed=0, settings=settings, labels=[])
        aims = {"feasible": "params < 1M: 3 of 4", "objectives": ["flops"], "lowest": [1.0], "highest": [2.0]}
        ledger.log("session", "plan", {"unit": unit, "aims": aims}, number=0)
    summary = summarise(tmp_path)
    assert summary.unit == shown
    assert (summary.constraint, summary.tabled) == ("params < 1M: 3 of 4", "")
    assert summary.asked == ("flops", "params", "latency[pixel3]")


def test_who_proposed_nothing_is_not_named(summary: Summary) -> None:
    assert "Principles: 1 supported, 1 refuted (from vllm:smollm2)" in terminal_page(summary)
    nothing = terminal_page(replace(summary, principles=(), reasoner="none"))
    assert "\nPrinciples: none proposed\n" in nothing


def test_who_stood_in_or_came_in_a_pack_is_named_by_its_own_name(summary: Summary) -> None:
    mine, other = summary.principles
    mixed = replace(summary, principles=(mine, mine, replace(other, reasoner="statistics")))
    assert "1 refuted (2 from vllm:smollm2, 1 from statistics)" in terminal_page(mixed)
    assert "Of 3: 2 from vllm:smollm2, 1 from statistics." in render(mixed)
    packed = replace(summary, principles=(replace(mine, imported=True), replace(other, reasoner="person")))
    assert "(1 from packs, 1 from person)" in terminal_page(packed)


def test_folder_without_a_ledger_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run folder"):
        summarise(tmp_path)


def test_commands(run: Path) -> None:
    from vitruvius.cli.commands import app

    shown = CliRunner().invoke(app, ["show", str(run), "--json"])
    assert json.loads(shown.output)["counted"] == 14
    reported = CliRunner().invoke(app, ["report", str(run), "--out", str(run / "x.html")])
    assert reported.exit_code == 0
    assert (run / "x.html").is_file()


def test_curves_figure_draws_one_line_for_each_method() -> None:
    svg = curves({"a": [None, 1.0, 2.0], "b & c": [0.5, 0.5, 3.0]}, "accuracy %")
    assert svg.count("<polyline") == 2
    assert "b &amp; c" in svg
    assert curves({"a": [None]}, "accuracy") == ""
    assert "nan" not in curves({"a": [1.0]}, "accuracy")


def test_a_line_is_cut_off_at_the_frame_and_not_bent() -> None:
    best = [1.0, 9.0, 9.1, 9.2, 9.3, 9.4]
    svg = curves({"ours": best}, "accuracy")
    heights = [float(point.split(",")[1]) for point in re.findall(r'points="([^"]+)"', svg)[0].split()]
    steps = [a - b for a, b in itertools.pairwise(heights)]
    assert steps[0] == pytest.approx(80 * steps[1], rel=0.01)  # 8 against 0.1
    assert 'overflow="hidden"' in svg and "lower values are below the frame" in svg
    losses = curves({"ours": [-value for value in best]}, "loss", maximize=False)
    assert "higher values are above the frame" in losses
    assert "the frame" not in curves({"ours": [1.0, 2.0, 3.0]}, "accuracy")


@pytest.mark.parametrize(("count", "ticks"), [(1, [1]), (2, [1, 2]), (30, [1, 15, 30]), (31, [1, 16, 31])])
def test_ticks_stand_where_they_belong(count: int, ticks: list[int]) -> None:
    svg = curves({"ours": [float(i) for i in range(count)]}, "accuracy")
    found = re.findall(r'<text x="([\d.]+)" y="\d+\.0" text-anchor="middle"[^>]*>(\d+)<', svg)
    assert [int(text) for _, text in found] == ticks
    for x, text in found:
        assert float(x) == pytest.approx(64 + 560 * (int(text) - 1) / max(count - 1, 1), abs=0.1)


def test_curves_on_a_logarithmic_axis() -> None:
    lines = {"ours": [1.0, 0.1, 0.01, 0.0], "random": [1.0, 1.0, 1.0, 1.0]}
    svg = curves(lines, "regret", maximize=False, logarithmic=True)
    ours = re.findall(r'points="([^"]+)"', svg)[0].split()
    heights = [float(point.split(",")[1]) for point in ours]
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.2)  # a tenth each time
    assert heights[3] > heights[2]
    assert ">0.1<" in svg


@pytest.mark.parametrize(
    ("low", "high", "colour"), [(0.1, 0.3, "#5a7d2a"), (-0.3, -0.1, "#a83232"), (-1, 9, "#777")]
)
def test_interval_figure_shows_the_sign(low: float, high: float, colour: str) -> None:
    svg = interval(Effect((low + high) / 2, low, high, 1, 1))
    assert colour in svg
    assert all(0 <= float(x) <= 200 for x in re.findall(r'cx="([\d.]+)"', svg))
