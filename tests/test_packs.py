"""Packs: what is carried, what is refused, and that it is tested again where it arrives."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from measured_ledger import SOURCE, claim, filled, measure, skips_help
from typer.testing import CliRunner

from vitruvius.cli.principles import app
from vitruvius.errors import PackError, TargetLeakError, UserError
from vitruvius.knowledge.evidence import assess
from vitruvius.knowledge.imports import import_pack, priors
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.measured import measured
from vitruvius.knowledge.packs import Pack, export_pack, read_pack
from vitruvius.knowledge.predicate import predicate_from_json
from vitruvius.knowledge.principle import (
    LONGEST_SENTENCE,
    Effect,
    Origin,
    Principle,
    PrincipleStatus,
    principle_id,
)
from vitruvius.knowledge.share import Share
from vitruvius.knowledge.transfer import FAILED, FEW, HELD, OTHER, SAME, fate, transfer

ELSEWHERE = "nasbench201/ImageNet16-120"
LABELS = {("nasbench201", "cifar10"), ("nasbench201", "cifar100")}


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Ledger]:
    """A run that found out about skips on cifar10 and cifar100."""
    with filled(tmp_path / "origin" / "ledger.db") as ledger:
        kept = [claim("skip >= 1"), claim("op(0->1) = skip"), claim("none >= 2", -1)]
        observed = [place.observations for place in measured(ledger)[0]]
        for principle in assess([(each, 0) for each in kept], observed):
            ledger.add_principle(principle, session="s")
        yield ledger


@pytest.fixture
def pack(origin: Ledger, tmp_path: Path) -> Pack:
    return export_pack(origin, origin.principles(), tmp_path / "pack.json", name="skips")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Ledger]:
    """A run on another data set, which has measured nothing yet."""
    with Ledger(tmp_path / "here" / "ledger.db") as ledger:
        labels = [("nasbench201", "ImageNet16-120"), ("nasbench201", "cifar100")]
        ledger.start_session("s", task=ELSEWHERE, seed=0, settings={"maximize": True}, labels=labels)
        yield ledger


def scored(ledger: Ledger) -> dict[str, Principle]:
    """As a session scores its principles."""
    known = [(each, ledger.born(each.id, "s")) for each in ledger.principles(session="s")]
    for principle in assess(known, [place.observations for place in measured(ledger)[0]]):
        ledger.update_principles([principle], session="s")
    return {each.id: each for each in ledger.principles(session="s")}


def test_a_pack_reads_back_as_it_was(origin: Ledger, pack: Pack, tmp_path: Path) -> None:
    assert read_pack(tmp_path / "pack.json") == pack
    assert [
        replace(each, origin=origin.principle(each.id).origin) for each in pack.principles
    ] == origin.principles()
    assert pack.labels == LABELS  # also where it was measured only


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["principles"][0].update(status="supported"), "changed or damaged"),
        (lambda data: data["principles"].pop(), "changed or damaged"),
        (lambda data: data["principles"][0]["origin"]["labels"].clear(), "changed or damaged"),
        (lambda data: data.pop("hash"), "changed or damaged"),
        (lambda data: data.update(version=2), "version 2"),
        (lambda data: data.update(kind="something else"), "lacks the kind"),
    ],
)  # fmt: skip
def test_a_file_that_was_changed_is_refused(
    pack: Pack, tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    file = tmp_path / "pack.json"
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))
    with pytest.raises(PackError, match=message) as caught:
        read_pack(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", '"x"', "\x00\x01", "[" * 100_000])
def test_what_is_no_pack_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(PackError, match=r"is no pack of principles"):
        read_pack(tmp_path / "x.json")
    with pytest.raises(PackError, match="cannot be read"):
        read_pack(tmp_path / "missing.json")


def rehashed(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a pack as somebody would who knows how it is hashed."""
    from vitruvius.knowledge.packs import _hash  # pyright: ignore[reportPrivateUsage]

    data = json.loads(file.read_text())
    change(data)
    body = {key: value for key, value in data.items() if key != "hash"}
    file.write_text(json.dumps({**body, "hash": _hash(body)}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["principles"][0].update(direction=-1), "id of another claim"),
        (lambda data: data["principles"][1]["predicate"].update(kind="python"), "Principle 2 of .* cannot be read"),
        (lambda data: data.update(principles=[]), "holds no principles"),
        (lambda data: data.update(principles=["x"]), "Principle 1 of .* cannot be read"),
    ],
)  # fmt: skip
def test_a_pack_of_a_stranger_is_checked(
    pack: Pack, tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    rehashed(tmp_path / "pack.json", change)
    with pytest.raises(PackError, match=message):
        read_pack(tmp_path / "pack.json")


def test_what_is_imported_no_longer_speaks_of_its_task(origin: Ledger, here: Ledger, tmp_path: Path) -> None:
    said = "An architecture that has 1 or more skips does better on nasbench201/cifar10."
    proposal = replace(claim("skip >= 1").proposal, sentence=said, task="nasbench201/cifar10")
    labels = frozenset({("nasbench201", "cifar10")})
    there = Principle(principle_id(proposal), proposal, Origin("statistics", labels=labels))
    origin.add_principle(there, session="s")
    import_pack(here, "s", export_pack(origin, [there], tmp_path / "one.json", name="one"))
    (taken,) = here.principles(session="s")
    assert (taken.proposal.task, taken.sentence) == (
        "any",
        f"{said.removesuffix(' on nasbench201/cifar10.')}.",
    )


def test_what_is_imported_starts_as_proposed_with_its_evidence_as_a_prior(here: Ledger, pack: Pack) -> None:
    done = import_pack(here, "s", pack)
    assert len(done.taken) == 3
    known, before = here.principles(session="s"), priors(here, "s")
    assert {each.status for each in known} == {PrincipleStatus.PROPOSED}
    assert all(each.evidence.tasks == () and each.origin.pack == pack.hash for each in known)
    for old in pack.principles:
        (prior,) = (each for each in before.values() if each.original == old.id)
        assert (prior.status, prior.evidence) == (old.status, old.evidence)
    record = here.session("s")
    assert record is not None
    assert record.labels[0] == ("nasbench201", "ImageNet16-120")
    assert set(record.labels) > LABELS


def test_a_warning_stays_a_warning(here: Ledger, pack: Pack) -> None:
    import_pack(here, "s", pack)
    known = {principle_id(each.proposal): each.proposal.direction for each in here.principles(session="s")}
    there = {before.original: id for id, before in priors(here, "s").items()}
    assert [known[there[each.id]] for each in pack.principles] == [
        each.proposal.direction for each in pack.principles
    ]
    assert sorted(known.values()) == [-1, 1, 1]


@pytest.mark.parametrize("status", [PrincipleStatus.SUPERSEDED, PrincipleStatus.RETRACTED])
def test_what_was_given_up_where_it_comes_from_is_not_taken_over(
    here: Ledger, pack: Pack, status: PrincipleStatus
) -> None:
    first, *others = pack.principles
    done = import_pack(here, "s", replace(pack, principles=(replace(first, status=status), *others)))
    assert done.refused == {f"{status.value} where it comes from": 1}
    originals = {before.original for before in priors(here, "s").values()}
    assert originals == {each.id for each in others}


def test_the_same_pack_again_changes_nothing(here: Ledger, pack: Pack) -> None:
    first = import_pack(here, "s", pack)
    facts = here.principles(), here.events("s"), here.steps()
    again = import_pack(here, "s", pack)
    assert (again.taken, again.known, again.new) == (first.taken, len(first.taken), 0)
    assert again.sentence() == f"knows 3 principles of the pack 'skips' ({pack.hash}) already"
    assert (here.principles(), here.events("s"), here.steps()) == facts


def test_a_pack_that_has_nothing_for_a_run_is_said_to_have_nothing(origin: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "places.json"
    export_pack(origin, [p for p in origin.principles() if "0->1" in p.sentence], file, name="places")
    with Ledger(tmp_path / "graph" / "ledger.db") as ledger:
        label = ("transnasbench101-micro", "jigsaw")
        ledger.start_session("s", task="/".join(label), seed=0, settings={}, labels=[label])
    text = call("import", file, "--run", tmp_path / "graph")
    assert "took nothing of the pack 'places' (" in text
    assert text.endswith(") over: 1 left out: names decisions of nasbench201.\n")


def test_sentences_of_a_stranger_are_bounded_and_never_blank(
    here: Ledger, pack: Pack, tmp_path: Path
) -> None:
    def change(data: dict[str, Any]) -> None:
        data["principles"][0]["sentence"], data["principles"][1]["sentence"] = "many words " * 500, " "

    rehashed(tmp_path / "pack.json", change)
    taken = import_pack(here, "s", read_pack(tmp_path / "pack.json")).taken
    long, blank, _ = (here.principle(id) for id in taken)
    assert len(long.sentence) <= LONGEST_SENTENCE and long.sentence.endswith(" many words…")
    assert blank.sentence == predicate_from_json(blank.proposal.predicate).sentence()


def test_a_killed_import_is_completed(here: Ledger, pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "add_principle", killed)
        with pytest.raises(KeyboardInterrupt):
            import_pack(here, "s", pack)
    assert len(import_pack(here, "s", pack).taken) == len(here.principles()) == len(priors(here)) == 3


def test_what_touches_the_target_is_refused(origin: Ledger, pack: Pack) -> None:
    with pytest.raises(
        TargetLeakError, match=r"nasbench201/cifar10, which is the target.*by vt\.Manual\(dataset=NAME"
    ):
        import_pack(origin, "s", pack)
    mixed = Pack("mixed", "0" * 16, (*pack.principles, replace(claim("conv3x3 >= 3"))))
    done = import_pack(origin, "s", mixed)
    assert done.refused == {"learned on the target": 3}
    assert [origin.principle(id).proposal.predicate["operations"] for id in done.taken] == [["conv3x3"]]


def test_labels_travel_on(here: Ledger, pack: Pack, tmp_path: Path) -> None:
    import_pack(here, "s", pack)
    measure(here, ELSEWHERE, skips_help, 40)
    scored(here)
    again = export_pack(here, here.principles(), tmp_path / "second.json", name="second")
    assert all(
        each.origin.labels == {*LABELS, ("nasbench201", "ImageNet16-120")} for each in again.principles
    )


def test_they_are_tested_on_the_target_and_not_on_what_they_came_from(here: Ledger, pack: Pack) -> None:
    measure(here, ELSEWHERE, skips_help, 80, seed=3)  # measured before: the pack knew nothing of it
    import_pack(here, "s", pack)
    measure(here, ELSEWHERE, skips_help, 80, seed=4)
    measure(here, SOURCE, skips_help, 100, share=Share.HELD, seed=5)
    skips = next(
        each for each in scored(here).values() if each.proposal.predicate.get("operations") == ["skip"]
    )
    told = {each.task: each for each in skips.evidence.tasks}
    fresh = told[ELSEWHERE].fresh
    assert fresh is not None
    assert fresh.holding + fresh.lacking > 120
    assert told[SOURCE].fresh is None  # the pack was learned there
    assert told[SOURCE].seen is not None
    assert skips.status is PrincipleStatus.SUPPORTED
    found = {each.principle.id: each for each in transfer(here, "s")}
    assert found[skips.id].fate == HELD
    assert found[skips.id].here == fresh
    assert all(each.origin.startswith(f"pack skips ({pack.hash})") for each in found.values())


def test_another_space_gets_what_is_portable(pack: Pack, tmp_path: Path) -> None:
    with Ledger(tmp_path / "other.db") as ledger:
        ledger.start_session(
            "s",
            task="transnasbench101-micro/jigsaw",
            seed=0,
            settings={},
            labels=[("transnasbench101-micro", "jigsaw")],
        )
        done = import_pack(ledger, "s", pack)
        assert done.refused == {"names decisions of nasbench201": 1}
        assert {each.proposal.space for each in ledger.principles()} == {"transnasbench101-micro"}
    with Ledger(tmp_path / "graph.db") as ledger:
        ledger.start_session(
            "s", task="nasbench-graph/cora", seed=0, settings={}, labels=[("nasbench-graph", "cora")]
        )
        done = import_pack(ledger, "s", pack)
        assert done.refused["names what nasbench-graph does not have"] == 1
        assert len(done.taken) == 1


@pytest.mark.parametrize(
    ("here", "direction", "expected"),
    [
        (None, 1, FEW),
        (Effect(0.3, 0.1, 0.5, 4, 40), 1, FEW),
        (Effect(0.3, 0.1, 0.5, 10, 40), 1, HELD),
        (Effect(-0.3, -0.5, -0.1, 10, 40), -1, HELD),
        (Effect(0.1, -0.1, 0.3, 10, 40), 1, SAME),
        (Effect(-0.1, -0.3, 0.1, 10, 40), 1, OTHER),
        (Effect(-0.3, -0.5, -0.1, 10, 40), 1, FAILED),
        (Effect(0.01, -0.02, 0.04, 900, 900), 1, FAILED),
    ],
)
def test_fates(here: Effect | None, direction: int, expected: str) -> None:
    assert fate(here, direction) == expected


def test_nothing_to_export(origin: Ledger, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one principle"):
        export_pack(origin, [], tmp_path / "no.json", name="x")
    assert not (tmp_path / "no.json").exists()
    with pytest.raises(UserError, match="there is no folder"):
        export_pack(origin, origin.principles(), tmp_path / "nowhere" / "x.json", name="x")


def call(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_commands(origin: Ledger, here: Ledger, tmp_path: Path) -> None:
    file, run = tmp_path / "out.json", Path(here.name).parent
    text = call(
        "export", "--run", Path(origin.name).parent, "--to", file, "--status", "any", "--about", "skip"
    )
    assert "2 principles" in text
    assert "Learned or tested on: nasbench201/cifar10, nasbench201/cifar100" in text
    assert "took 2 principles" in call("import", file, "--run", run)
    assert (run / "packs" / f"{read_pack(file).hash}.json").is_file()
    measure(here, ELSEWHERE, skips_help, 150)
    scored(here)
    text = call("transfer", "--run", run)
    assert f"on {ELSEWHERE}: " in text
    assert "before " in text
    assert "here +" in text
    plain = json.loads(call("transfer", "--run", run, "--json"))
    assert {each["fate"] for each in plain} <= {HELD, SAME, FEW, OTHER, FAILED}
    assert all(each["prior"]["pack"] == read_pack(file).hash for each in plain)
    shown = call("show", plain[0]["id"], "--run", run)
    assert "in the pack origin" in shown
    assert "prior  " in shown
    assert "knows 2 principles" in (again := call("import", file, "--run", run)) and "tests them" not in again
    assert "wait in" in call("import", file, "--run", tmp_path / "later")
    for command in ("list", "transfer"):
        with pytest.raises(
            UserError, match=r"later has not begun: 2 principles wait for `vitruvius run --run"
        ):
            call(command, "--run", tmp_path / "later")
