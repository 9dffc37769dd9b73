"""The ledger: facts survive, are paid for once, and never change."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitruvius.agents.reasoner import ModelCall
from vitruvius.errors import LedgerError, SettingsError, UnknownNameError
from vitruvius.generator.evaluation.task import Measurement, Status
from vitruvius.knowledge import records
from vitruvius.knowledge.ledger import Ledger
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
from vitruvius.knowledge.records import Revision, principle_from_json, principle_to_json
from vitruvius.knowledge.share import Share

TASK = "nasbench201/cifar10"


def measurement(number: int = 0, **changes: Any) -> Measurement:
    base = Measurement(
        space="nasbench201", task=TASK, key=f"key{number}", id=f"id{number}", status=Status.OK,
        score=90 + number / 7, seconds=1.5, params=0.3, latency={"gpu": 1.25}, fidelity="200 epochs",
        evaluator="table:1", fingerprint="f",
    )  # fmt: skip
    return dataclasses.replace(base, **changes)


def failure(status: Status, device: str = "cpu", number: int = 0) -> Measurement:
    return measurement(number, status=status, score=None, reason="no.", device=device)


def principle(number: int = 0, **changes: Any) -> Principle:
    predicate = {"kind": "count", "operations": ["conv3x3"], "comparison": ">=", "value": number + 1}
    proposal = Proposal(f"Principle {number}.", predicate, "nasbench201")
    base = Principle(principle_id(proposal), proposal, Origin("statistics", template="t", session="s"))
    return dataclasses.replace(base, **changes)


def evidence(n: int) -> Evidence:
    effect = Effect(0.1, -0.2, 0.4, n, 3, evalue=math.inf)
    return Evidence((TaskEvidence(TASK, None, effect, tuple(f"a{i}" for i in range(n)), ("b",)),), effect)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """One and the same in a file and in a database server."""
    sqlite = request.param == "sqlite"
    with Ledger(tmp_path / "run" / "ledger.db" if sqlite else request.getfixturevalue("postgres")) as ledger:
        for session in ("s", "other"):
            ledger.start_session(session, task=TASK, seed=3, settings={}, labels=[("nasbench201", "cifar10")])
        yield ledger


def lookup(ledger: Ledger, m: Measurement) -> Measurement | None:
    key, task, fingerprint, evaluator, fidelity, seed = m.identity
    return ledger.lookup(
        key=key, task=task, fingerprint=fingerprint, evaluator=evaluator, fidelity=fidelity, seed=seed
    )  # fmt: skip


class TestSessions:
    def test_starting_twice_is_one_session_and_changes_are_named(self, ledger: Ledger) -> None:
        facts: dict[str, Any] = {
            "task": TASK,
            "seed": 7,
            "settings": {"a": 1, "b": [1.5]},
            "labels": [("x", "y")],
        }
        ledger.start_session("new", **facts)
        ledger.start_session("new", **facts)
        record = ledger.session("new")
        assert record is not None and len(ledger.sessions()) == 3
        assert (record.seed, record.settings, record.labels) == (7, {"a": 1, "b": [1.5]}, (("x", "y"),))
        facts |= {"seed": 8, "settings": {}}
        with pytest.raises(SettingsError, match="another seed and another settings"):
            ledger.start_session("new", **facts)
        assert ledger.session("nobody") is None

    def test_passwords_of_urls_are_not_kept(self, ledger: Ledger, tmp_path: Path) -> None:
        settings = {"ledger": "postgresql://me:hunter2@host/db", "more": [{"url": "http://a:hunter2@h"}]}
        ledger.start_session("new", task=TASK, seed=0, settings=settings, labels=[])
        ledger.log("new", "warning", {"text": "no answer from http://user:hunter2@host:80/v1"})
        record = ledger.session("new")
        assert record is not None and record.settings["ledger"] == "postgresql://me:***@host/db"
        ledger.close()
        for file in (tmp_path / "run").glob("*"):
            assert b"hunter2" not in file.read_bytes()


class TestRecording:
    def test_counted_and_paid(self, ledger: Ledger) -> None:
        first = ledger.record(measurement(0), session="s", batch=0, share=Share.INITIAL)
        assert (first.order, first.counted, first.paid) == (0, True, True)
        assert ledger.record(measurement(0), session="s", batch=0, share=Share.INITIAL) == first
        again = ledger.record(measurement(0), session="s", batch=1, share=Share.MODEL)
        assert (again.order, again.counted, again.paid) == (1, False, False)
        twin = ledger.record(measurement(1, id="id0"), session="s", batch=1, share=Share.MODEL)
        assert (twin.counted, twin.paid) == (False, True)
        other = ledger.record(measurement(0), session="other", batch=0, share=Share.OPEN)
        assert (other.order, other.counted, other.paid) == (0, True, False)
        assert [x.order for x in ledger.learned("s")] == [0, 1, 2]

    def test_a_failure_does_not_count_and_a_later_score_does(self, ledger: Ledger) -> None:
        failed = ledger.record(failure(Status.OUT_OF_MEMORY), session="s", batch=0, share=Share.MODEL)
        assert (failed.counted, failed.paid) == (False, True)
        done = ledger.record(measurement(0), session="s", batch=1, share=Share.MODEL)
        assert (done.counted, done.paid, done.measurement.ok) == (True, True, True)

    def test_the_first_of_two_results_stays(self, ledger: Ledger) -> None:
        ledger.record(measurement(0), session="s", batch=0, share=Share.INITIAL)
        second = ledger.record(measurement(0, score=1.0), session="other", batch=0, share=Share.INITIAL)
        assert second.measurement == measurement(0)

    def test_reads_what_was_written(self, ledger: Ledger) -> None:
        shared = [measurement(0), measurement(1, seed=2), failure(Status.INVALID, number=2)]
        ledger.record_all(
            [*shared, measurement(3, task="nasbench201/other")], session="s", batch=4, share=Share.HELD
        )
        learned = ledger.learned("s", TASK)
        assert [x.measurement for x in learned] == shared
        assert {(x.session, x.batch, x.share) for x in learned} == {("s", 4, "held")}
        assert len(ledger.learned("s")) == 4 and ledger.learned("other") == []

    def test_numpy_numbers_are_numbers(self, ledger: Ledger) -> None:
        batch: Any = np.int64(0)
        m = measurement(0, score=np.float32(0.5), params=np.float64(2.5), seed=np.int64(3))
        ledger.record(m, session="s", batch=batch, share=Share.INITIAL)
        found = lookup(ledger, measurement(0, seed=3))
        assert found is not None and (found.score, found.params) == (0.5, 2.5)
        assert type(found.score) is float

    @pytest.mark.parametrize("score", [None, math.nan, math.inf])
    def test_a_score_must_be_finite(self, ledger: Ledger, score: float | None) -> None:
        with pytest.raises(LedgerError, match="finite score"):
            ledger.record_all(
                [measurement(1), measurement(0, score=score)], session="s", batch=0, share=Share.MODEL
            )
        assert ledger.learned("s") == []

    def test_unknown_session(self, ledger: Ledger) -> None:
        with pytest.raises(LedgerError, match="no session 'nobody'"):
            ledger.record(measurement(), session="nobody", batch=0, share=Share.MODEL)
        assert lookup(ledger, measurement()) is None


class TestLookup:
    @pytest.mark.parametrize("status", [Status.OK, Status.INVALID])
    def test_what_holds_for_all_is_found(self, ledger: Ledger, status: Status) -> None:
        m = measurement() if status is Status.OK else failure(status)
        ledger.record(m, session="s", batch=0, share=Share.MODEL)
        assert lookup(ledger, m) == m

    @pytest.mark.parametrize(
        "status", [Status.DIVERGED, Status.OUT_OF_MEMORY, Status.TIMED_OUT, Status.FAILED]
    )
    def test_failures_are_tried_again_until_there_is_a_result(self, ledger: Ledger, status: Status) -> None:
        for batch, session in enumerate(("s", "other", "s")):
            again = ledger.record(failure(status), session=session, batch=batch, share=Share.MODEL)
            assert again.paid and not again.counted and lookup(ledger, again.measurement) is None
        ledger.record(failure(Status.FAILED), session="other", batch=7, share=Share.MODEL)
        ledger.record(failure(status), session="s", batch=8, share=Share.MODEL)
        ledger.record(measurement(), session="s", batch=9, share=Share.MODEL)
        assert lookup(ledger, failure(status)) == measurement()
        assert [x.measurement.status for x in ledger.learned("s")] == [status] * 3 + [Status.OK]

    @pytest.mark.parametrize("field", ["key", "task", "fingerprint", "evaluator", "fidelity", "seed"])
    def test_each_part_of_the_identity_counts(self, ledger: Ledger, field: str) -> None:
        changed: dict[str, Any] = {field: 9 if field == "seed" else "else"}
        ledger.record(measurement(), session="s", batch=0, share=Share.MODEL)
        assert lookup(ledger, measurement(**changed)) is None
        assert lookup(ledger, measurement()) == measurement()


class TestEvents:
    def test_numbered_events_are_logged_once(self, ledger: Ledger) -> None:
        state = np.random.default_rng(1).bit_generator.state
        data = {"codes": np.arange(3), "rng": state, "score": np.float64(0.5), "none": None}
        ledger.log("s", "batch", data, number=1)
        ledger.log("s", "batch", dict(reversed(data.items())), number=1)
        ledger.log("other", "batch", {}, number=1)
        (event,) = ledger.events("s")
        assert event.data == {"codes": [0, 1, 2], "rng": state, "score": 0.5, "none": None}
        assert (event.kind, event.number) == ("batch", 1)
        generator = np.random.default_rng()
        generator.bit_generator.state = event.data["rng"]
        assert generator.random() == np.random.default_rng(1).random()
        with pytest.raises(LedgerError, match=r"batch 1 of session 's'.*other data"):
            ledger.log("s", "batch", {"codes": []}, number=1)

    def test_without_number_each_stands(self, ledger: Ledger) -> None:
        for text in ("a", "a", "b"):
            ledger.log("s", "warning", {"text": text})
        ledger.log("s", "model", {})
        assert [event.data["text"] for event in ledger.events("s", "warning")] == ["a", "a", "b"]
        assert len(ledger.events("s")) == 4

    def test_only_plain_data(self, ledger: Ledger) -> None:
        with pytest.raises(LedgerError, match="of type object"):
            ledger.log("s", "x", {"a": object()})
        assert ledger.events("s") == []

    def test_calls(self, ledger: Ledger) -> None:
        call = ModelCall("openai:m", "propose", "hash", "inputs", "reply {}", 10, 20, 1.5, "ok")
        numbers = [ledger.add_call("s", call), ledger.add_call("s", {"model": "x"})]
        kept = ledger.calls("s")
        assert [c.id for c in kept] == numbers
        assert kept[0].call == dataclasses.asdict(call) and kept[1].call == {"model": "x"}
        assert ledger.calls("other") == []


class TestPrinciples:
    def test_add_update_history(self, ledger: Ledger) -> None:
        ledger.add_principle(principle(), session="s")
        ledger.add_principle(principle(), session="s")
        steps = [(PrincipleStatus.SUPPORTED, evidence(2)), (PrincipleStatus.CONTESTED, evidence(3))]
        for status, measured in steps:
            for _ in range(2):
                changed = principle(status=status, evidence=measured)
                ledger.update_principles([changed], session="s")
                assert ledger.principle(changed.id) == changed
                assert ledger.principles() == [changed]
        history = ledger.history(principle().id)
        assert [(h[1], h[2], h[3]) for h in history] == [
            ("s", PrincipleStatus.PROPOSED, Evidence()),
            ("s", *steps[0]),
            ("s", *steps[1]),
        ]

    def test_born_is_the_order_of_the_next_measurement(self, ledger: Ledger) -> None:
        ledger.record(measurement(0), session="s", batch=0, share=Share.MODEL)
        ledger.add_principle(principle(), session="s")
        after = ledger.record(measurement(1), session="s", batch=1, share=Share.MODEL)
        ledger.add_principle(principle(), session="s")
        assert ledger.born(principle().id, "s") == after.order == 1
        assert ledger.born(principle().id, "other") == 0

    def test_filters(self, ledger: Ledger) -> None:
        def scoped(number: int, space: str, task: str, template: str = "t") -> Principle:
            proposal = dataclasses.replace(principle(number).proposal, space=space, task=task)
            return principle(
                number, id=f"p{number}", proposal=proposal, origin=Origin("x", template=template)
            )

        everything = [
            scoped(0, "nasbench201", TASK), scoped(1, "nasbench201", "any", "u"), scoped(2, "any", "any"),
            scoped(3, "nasbench-graph", "any"), scoped(4, "nasbench201", "nasbench201/cifar100"),
        ]  # fmt: skip
        for each in everything:
            ledger.add_principle(each, session="s")
        ledger.update_principles(
            [dataclasses.replace(everything[3], status=PrincipleStatus.REFUTED)], session="s"
        )

        def ids(**filters: Any) -> str:
            return "".join(p.id[1] for p in ledger.principles(**filters))

        assert ids() == "01234"
        assert ids(space="nasbench201") == "0124"
        assert ids(task=TASK) == "012"
        assert ids(task=TASK, template="t") == "02"
        assert ids(status=PrincipleStatus.REFUTED) == "3"
        assert ids(status=PrincipleStatus.PROPOSED, space="any") == "2"
        assert ids(session="other") == ""
        assert ids(ids=["p4", "p1", "p9"]) == "14"

    def test_a_second_session_does_not_hide_what_the_first_measured(self, ledger: Ledger) -> None:
        measured = principle(status=PrincipleStatus.SUPPORTED, evidence=evidence(2))
        ledger.add_principle(principle(), session="s")
        ledger.update_principles([measured], session="s")
        ledger.add_principle(principle(), session="other")
        assert ledger.principles() == [measured]
        assert ledger.principles(session="s") == [measured]
        assert ledger.principles(session="other") == [principle()]

    def test_unknown(self, ledger: Ledger) -> None:
        ledger.add_principle(principle(), session="s")
        known = principle().id
        wrong = known[:-1] + ("0" if known[-1] != "0" else "1")
        for ask in (ledger.principle, ledger.history, lambda id: ledger.born(id, "s")):
            with pytest.raises(UnknownNameError, match=rf"Unknown principle '{wrong}'.*{known}"):
                ask(wrong)
        with pytest.raises(UnknownNameError):
            ledger.update_principles([principle(status=PrincipleStatus.REFUTED), principle(1)], session="s")
        assert ledger.principle(known) == principle(), "nothing of them was written"

    def test_changed(self, ledger: Ledger) -> None:
        assert ledger.changed(Revision()) == (Revision(), [])
        for number in range(3):
            ledger.add_principle(principle(number), session="s")
        revision, changed = ledger.changed(Revision())
        assert len(changed) == 3
        ledger.update_principles([principle(1, status=PrincipleStatus.REFUTED)], session="s")
        assert [p.id for p in ledger.changed(revision)[1]] == [principle(1).id]


numbers = st.floats(allow_nan=False)
texts = st.text(max_size=20)
effects = st.none() | st.builds(
    Effect, numbers, numbers, numbers, st.integers(0, 99), st.integers(0, 99), numbers, st.none() | numbers
)
ids = st.lists(texts, max_size=3).map(tuple)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
principles = st.builds(
    Principle,
    id=texts,
    proposal=st.builds(
        Proposal, texts, st.dictionaries(texts, plain, max_size=3), texts, texts, st.sampled_from([1, -1]),
        st.none() | numbers,
    ),
    origin=st.builds(
        Origin, texts, texts, texts, st.none() | st.integers(0, 9), st.frozensets(st.tuples(texts, texts), max_size=3)
    ),
    status=st.sampled_from(PrincipleStatus),
    evidence=st.builds(
        Evidence,
        st.lists(st.builds(TaskEvidence, texts, effects, effects, ids, ids), max_size=2).map(tuple),
        effects,
    ),
    supersedes=st.none() | texts,
)  # fmt: skip


class TestRecords:
    @given(principles)
    def test_principles_survive_strict_json(self, kept: Principle) -> None:
        text = json.dumps(principle_to_json(kept), allow_nan=False)
        assert principle_from_json(json.loads(text)) == kept

    @given(principles)
    def test_principles_survive_the_ledger(self, kept: Principle) -> None:
        with Ledger("sqlite://") as ledger:
            ledger.start_session("s", task=TASK, seed=0, settings={}, labels=[])
            ledger.add_principle(kept, session="s")
            assert ledger.principle(kept.id) == kept

    @given(st.dictionaries(texts, plain, max_size=4))
    def test_dump_is_canonical(self, data: dict[str, object]) -> None:
        turned = dict(reversed(data.items()))
        assert records.dump(data) == records.dump(turned)
        assert json.loads(records.dump(data)) == data

    @pytest.mark.parametrize(
        ("text", "clean"),
        [
            ("postgresql+psycopg://me:p%40ss@h:5432/x", "postgresql+psycopg://me:***@h:5432/x"),
            ("see http://a:b@c and ftp://d:e@f", "see http://a:***@c and ftp://d:***@f"),
            ("http://host:8000/path", "http://host:8000/path"),
            ("http://host/a:b@c", "http://host/a:b@c"),
            ("redis://:secret@h", "redis://:***@h"),
            ("a:b@c", "a:b@c"),
        ],
    )
    def test_without_password(self, text: str, clean: str) -> None:
        assert records.without_password(text) == clean
