"""What every evaluator must hold. Subclass it, and give fixtures named `evaluator` and `space`."""

from __future__ import annotations

import numpy as np

from vitruvius.errors import UnknownNameError
from vitruvius.generator.evaluation.task import Bench, Evaluator, Measurement, Task
from vitruvius.generator.space import Architecture, SearchSpace

COSTS = ("params", "flops")


class EvaluatorContract:
    """Tests that an evaluator passes.

    Set `n` to the number of architectures that are measured, `reproducible` to False where two measurings
    with one seed may differ.

    Example:
        class TestMine(EvaluatorContract):
            @pytest.fixture
            def evaluator(self):
                return Mine()

            @pytest.fixture
            def space(self):
                return vt.get_space("nasbench201")
    """

    n = 4
    reproducible = True

    def bench(self, evaluator: Evaluator, space: SearchSpace) -> Bench:
        """The evaluator set up for its first data set."""
        return evaluator.open(space, evaluator.datasets(space)[0])

    def some(self, space: SearchSpace) -> list[Architecture]:
        """The architectures that are measured here; no two in one class."""
        rows = space.sample(20 * self.n, np.random.default_rng(11))
        by_id = {architecture.id: architecture for architecture in space.architectures(rows)}
        return list(by_id.values())[: self.n]

    def test_names(self, evaluator: Evaluator, space: SearchSpace) -> None:
        """It has a name, says whether it looks up, and names data sets that it can open."""
        assert evaluator.name and isinstance(evaluator.tabular, bool)
        names = evaluator.datasets(space)
        assert names and len(set(names)) == len(names)
        for name in names:
            assert name and "/" not in name, f"{name!r} cannot stand in a task's name"

    def test_unknown_data_set(self, evaluator: Evaluator, space: SearchSpace) -> None:
        """Another data set is refused with those it has."""
        try:
            evaluator.open(space, "no-such-data-set")
        except UnknownNameError as error:
            assert evaluator.datasets(space)[0] in str(error)
        else:
            raise AssertionError("an unknown data set was opened")

    def test_bench(self, evaluator: Evaluator, space: SearchSpace) -> None:
        """What identifies a measurement is said, and is the same when opened again."""
        one, two = self.bench(evaluator, space), self.bench(evaluator, space)
        assert one.evaluator.split(":")[0] == evaluator.name
        assert one.fingerprint and one.metric.name
        for name in ("evaluator", "fingerprint", "fidelity", "metric"):
            assert getattr(one, name) == getattr(two, name)

    def test_measurements(self, evaluator: Evaluator, space: SearchSpace) -> None:
        """One measurement for each architecture, of its representative, with all that identifies it."""
        asked = self.some(space)
        task = Task(f"{space.name}/{evaluator.datasets(space)[0]}", evaluator)
        bench = task.bench
        found = list(bench.measure(asked, seed=0))
        assert sorted(m.id for m in found) == sorted(a.id for a in asked)
        keys = {a.id: bench.representative(a).key for a in asked}
        for m in found:
            assert (m.space, m.task, m.key) == (space.name, task.name, keys[m.id])
            assert (m.evaluator, m.fidelity, m.fingerprint) == (
                bench.evaluator,
                bench.fidelity,
                bench.fingerprint,
            )
            assert m.seconds >= 0
            if m.ok:
                assert m.score is not None and np.isfinite(m.score)
            else:
                assert m.score is None and m.reason, "without a score there is a reason"
        assert any(m.ok for m in found), f"none has a score: {found[0].reason}"

    def test_again(self, evaluator: Evaluator, space: SearchSpace) -> None:
        """The same architectures, alone and in another order, give the same facts."""
        bench, asked = self.bench(evaluator, space), self.some(space)
        together = {m.id: m for m in bench.measure(asked, seed=0)}
        for architecture in reversed(asked):
            (alone,) = bench.measure([architecture], seed=0)
            assert alone.identity == together[alone.id].identity
            if self.reproducible:
                assert _outcome(alone) == _outcome(together[alone.id])

    def test_representative(self, evaluator: Evaluator, space: SearchSpace) -> None:
        """A class has one representative, which represents itself."""
        bench = self.bench(evaluator, space)
        for architecture in space.architectures(space.sample(50, np.random.default_rng(3))):
            chosen = bench.representative(architecture)
            assert chosen.id == architecture.id
            assert bench.representative(chosen) == chosen

    def test_costs(self, evaluator: Evaluator, space: SearchSpace) -> None:
        """Costs are arrays with known names, and those of a measurement are those of its key."""
        bench, asked = self.bench(evaluator, space), self.some(space)
        costs = bench.costs(space.rows(asked))
        allowed = {*COSTS, *(f"latency[{device}]" for device in bench.devices)}
        assert set(costs) <= allowed
        for values in costs.values():
            assert values.shape == (len(asked),)
        for m in bench.measure(asked[:1], seed=0):
            exact = bench.costs(space.parse(m.key).row)
            for name, value in (("params", m.params), ("flops", m.flops)):
                if value is not None and name in exact:
                    np.testing.assert_allclose(value, exact[name][0])

    def test_nothing(self, evaluator: Evaluator, space: SearchSpace) -> None:
        """No architectures give no measurements."""
        assert list(self.bench(evaluator, space).measure([])) == []

    def test_left_early(self, evaluator: Evaluator, space: SearchSpace) -> None:
        """Whoever stops after the first measurement can go on measuring afterwards."""
        bench, asked = self.bench(evaluator, space), self.some(space)
        for _ in bench.measure(asked, seed=0):
            break
        assert len(list(bench.measure(asked[:1], seed=0))) == 1


def _outcome(measurement: Measurement) -> tuple[object, ...]:
    return measurement.status, measurement.score, measurement.reason
