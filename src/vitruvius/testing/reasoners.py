"""What every reasoner must hold. Subclass it, and give a fixture named `reasoner`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vitruvius.agents.reasoner import Brief, Reasoner, Reflection
from vitruvius.generator.space import get_space
from vitruvius.knowledge.evidence import assess
from vitruvius.knowledge.observations import Observations
from vitruvius.knowledge.population import Population
from vitruvius.knowledge.predicate import predicate_from_json
from vitruvius.knowledge.predicate_text import parse_predicate
from vitruvius.knowledge.principle import Origin, Principle, Proposal, principle_id


def example_brief(space: str = "nasbench201", *, n: int = 160, seed: int = 0, limit: int = 8) -> Brief:
    """A brief with one source task of n architectures, half of them held back.

    The scores are made up: the number of second operations of the space, and noise. So there is something
    to be found, and nobody can know it from the literature.

    Args:
        space: Name of the space.
        n: Number of measurements.
        seed: Draws architectures and noise.
        limit: Most principles.
    """
    where, rng = get_space(space), np.random.default_rng(seed)
    choices = where.sample(n, rng)
    useful = Population(where, choices).count([where.operations[1]])
    scores = useful + rng.normal(0, 0.5, n)
    observations = Observations(
        space=where,
        task=f"{space}/made-up",
        label=(space, "made-up"),
        choices=choices,
        scores=scores,
        uniform=np.ones(n, dtype=np.bool_),
        held=np.arange(n) % 2 == 1,
        order=np.arange(n),
        reference=np.sort(scores),
    )
    return Brief(where, f"{space}/another", [observations], [], limit=limit, seed=seed)


def _known(observations: Observations) -> list[Principle]:
    """A known principle with all that the measurements say of it, held-back ones included."""
    space = observations.space
    predicate = parse_predicate(f"{space.operations[-1]} >= 2")
    proposal = Proposal(predicate.sentence(), predicate.to_json(), space.name)
    principle = Principle(id=principle_id(proposal), proposal=proposal, origin=Origin(reasoner="test"))
    return [replace(assess([(principle, 0)], [observations])[0], status=principle.status)]


def _shown(reflection: Reflection) -> list[str]:
    """Hashes of what a model was shown; a probe, made once, shows nothing of the measurements."""
    return [call.inputs_hash for call in reflection.calls if call.template != "probe"]


class ReasonerContract:
    """Tests that a reasoner passes.

    Example:
        class TestMine(ReasonerContract):
            @pytest.fixture
            def reasoner(self):
                return Mine()
    """

    repeatable = True
    """Whether equal briefs give equal proposals; a sampled language model may say False."""

    def test_it_says_what_it_is(self, reasoner: Reasoner) -> None:
        """A name, and whether templates matter."""
        assert reasoner.name
        assert isinstance(reasoner.uses_templates, bool)

    def test_proposals_are_valid(self, reasoner: Reasoner) -> None:
        """Each predicate fits the space, holds for some and not for all, and says which way it points."""
        brief = example_brief()
        reflection = reasoner.reflect(brief)
        assert len(reflection.proposals) <= brief.limit
        everything = Population(brief.space, brief.space.sample(4000, np.random.default_rng(5)))
        for proposal in reflection.proposals:
            predicate = predicate_from_json(proposal.predicate).check(brief.space)
            assert 0 < predicate.holds(everything).mean() < 1, predicate.text()
            assert proposal.space in (brief.space.name, "any")
            assert proposal.space != "any" or predicate.portable
            assert proposal.direction in (1, -1)
            assert proposal.sentence.strip()
        claims = {principle_id(proposal) for proposal in reflection.proposals}
        assert len(claims) == len(reflection.proposals)

    def test_what_is_held_back_stays_unseen(self, reasoner: Reasoner) -> None:
        """Other scores of what is held back, and of what rests on it, change no prompt and no proposal."""
        brief = example_brief()
        one = brief.observations[0]
        scores = np.where(one.held, one.scores[::-1] * 7 + 3, one.scores)
        changed = replace(one, scores=scores, reference=np.sort(scores))
        brief = replace(brief, known=_known(one))
        other = replace(brief, observations=[changed], known=_known(changed))
        first, second = reasoner.reflect(brief), reasoner.reflect(other)
        assert _shown(first) == _shown(second)
        if self.repeatable:
            assert first.proposals == second.proposals

    def test_equal_briefs_equal_proposals(self, reasoner: Reasoner) -> None:
        """The seed decides; the brief is left as it was."""
        brief = example_brief()
        before = brief.observations[0].scores.copy(), brief.observations[0].choices.copy()
        first, second = reasoner.reflect(brief), reasoner.reflect(brief)
        if self.repeatable:
            assert first.proposals == second.proposals
        np.testing.assert_array_equal(before[0], brief.observations[0].scores)
        np.testing.assert_array_equal(before[1], brief.observations[0].choices)

    def test_known_principles_are_not_repeated(self, reasoner: Reasoner) -> None:
        """What is known is not proposed again."""
        brief = example_brief()
        known = [
            Principle(id=principle_id(proposal), proposal=proposal, origin=Origin(reasoner="test"))
            for proposal in reasoner.reflect(brief).proposals
        ]
        again = reasoner.reflect(replace(brief, known=known)).proposals
        assert not {principle.id for principle in known} & {principle_id(proposal) for proposal in again}

    def test_the_limit_is_kept(self, reasoner: Reasoner) -> None:
        """Also a small one."""
        assert len(reasoner.reflect(example_brief(limit=1)).proposals) <= 1

    def test_hardly_anything_measured(self, reasoner: Reasoner) -> None:
        """No observations, or two, are no error."""
        brief = example_brief()
        assert reasoner.reflect(replace(brief, observations=[])).proposals == []
        two = np.arange(len(brief.observations[0])) < 4
        reasoner.reflect(replace(brief, observations=[brief.observations[0].take(two)]))

    def test_closing_twice(self, reasoner: Reasoner) -> None:
        """Is allowed."""
        reasoner.close()
        reasoner.close()


__all__ = ["ReasonerContract", "example_brief"]
