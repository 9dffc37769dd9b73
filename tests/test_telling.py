"""Prose of a language model, of which only what cites facts is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from measured_ledger import claim, filled
from typer.testing import CliRunner

from vitruvius.agents.asking import Limits
from vitruvius.agents.models import Chat
from vitruvius.agents.telling import facts, held_to, tell
from vitruvius.cli.principles import app
from vitruvius.errors import ModelError
from vitruvius.knowledge.answer import Answer
from vitruvius.knowledge.embedders import HashingEmbedder
from vitruvius.knowledge.ledger import Ledger
from vitruvius.knowledge.store import Store
from vitruvius.testing.chat import ScriptedChatModel

KNOWN = {
    "measured": "tried on cifar10: 3 of 50 measured  +0.21 [+0.05, +0.37] quantile",
    "p0123456789": "supported: conv3x3 helps. -0.10",
}


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("Skips help by 0.21 [measured].", None),
        ("Skips help by 0.2 [measured].", None),
        ("The interval is from +0.05 to 0.37 [measured].", None),
        ("Only 3 of 50 were tried [measured].", None),
        ("Both say so [measured, p0123456789].", None),
        ("It loses -0.10 with conv3x3 [p0123456789].", None),
        ("Under 1M it is unknown [measured].", None),
        ("Skips help.", "cites nothing"),
        ("Skips help [p9].", "cites 'p9', which is no fact"),
        ("Skips help [measured][made up].", "cites 'made', which is no fact"),
        ("Skips help [].", "cites nothing"),
        ("Skips help by 0.5 [measured].", "says 0.5, which is not in what it cites"),
        ("Skips help by 0.21 [p0123456789].", "says 0.21, which is not in what it cites"),
        ("GCN hurts badly: -0.21 [measured].", "says -0.21, which is not in what it cites"),
        ("GCN hurts badly: \u22120.21 [measured].", "says -0.21, which is not in what it cites"),
        ("It gains +0.10 [p0123456789].", "says +0.10, which is not in what it cites"),
        ("It hurts by 0.10 [p0123456789].", None),
        ("In 95 of 100 cases [measured].", "says 95, which is not in what it cites"),
    ],
)  # fmt: skip
def test_what_is_kept(sentence: str, reason: str | None) -> None:
    found = held_to(sentence, KNOWN, "do skips help under 1M parameters?")
    assert found.sentences == ((sentence,) if reason is None else ())
    assert [dropped.reason for dropped in found.dropped] == ([] if reason is None else [reason])


@pytest.mark.parametrize(
    ("verdict", "sentence", "kept"),
    [
        ("no, it hurts", "Yes, skips help [measured].", False),
        ("no, it hurts", "Yes they do [measured].", False),
        ("no, it hurts", "No, they hurt [measured].", True),
        ("no, it hurts", "They hurt [measured].", True),
        ("yes, but hardly", "No [measured].", False),
        ("yes, but hardly", "No architecture speaks against it [measured].", True),
        ("yes, but hardly", "Yes, says a principle [p0123456789].", True),
        ("cannot be told yet: the interval holds zero", "Yes, they help [measured].", False),
        ("cannot be told yet: the interval holds zero", "No, that cannot be told [measured].", True),
        ("no architecture of nasbench201 has it on cifar10", "Yes, it is known [measured].", True),
        ("yes\nno, it hurts", "Yes, on one of both [measured].", True),
    ],
)
def test_a_yes_to_a_no_is_dropped(verdict: str, sentence: str, kept: bool) -> None:
    found = held_to(sentence, KNOWN | {"measured": f"understood as: skip >= 1: does it help?\n{verdict}"})
    assert bool(found.sentences) == kept
    assert all(" where the verdict is: " in one.reason for one in found.dropped)


def test_what_was_not_understood_is_among_the_facts(answer: Answer) -> None:
    doubtful = replace(answer, unknown=("sigmoid", "blue"), notes=("cora is not measured.",))
    lines = facts(doubtful)["measured"].splitlines()
    assert lines[0] == "not understood: sigmoid, blue" and lines[-1] == "cora is not measured."


def test_sentences_are_told_apart_wherever_the_ids_stand() -> None:
    reply = (
        "<think>Maybe 0.9.</think>Yes. Skips help by 0.21. [measured] And so [p0123456789]! \x1b[31m"
        "\n- It was hardly tried [measured].\nBelieve me."
    )
    found = held_to(reply, KNOWN)
    assert found.sentences == (
        "Skips help by 0.21 [measured].",
        "And so [p0123456789]!",
        "It was hardly tried [measured].",
    )
    assert {"Yes.", "Believe me."} <= {dropped.sentence for dropped in found.dropped}
    assert not any("\x1b" in sentence for sentence in found.sentences)


def test_text_without_end_is_bounded() -> None:
    found = held_to("It helps [measured]. " * 500, KNOWN)
    assert len(found.sentences) == 12
    assert len(found.dropped) == 488


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with filled(tmp_path / "run" / "ledger.db") as ledger:
        ledger.add_principle(claim("skip >= 1"), session="s")
        yield ledger


@pytest.fixture
def answer(ledger: Ledger) -> Answer:
    with Store(ledger, None, embedder=HashingEmbedder()) as store:
        return store.ask("do skips help on cifar10?")


def test_the_model_sees_the_facts_and_their_ids(answer: Answer) -> None:
    model = ScriptedChatModel(replies=["Yes, they help [measured]. They always do."])
    prose = tell(answer, Chat("scripted", lambda: model))
    assert prose.sentences == ("Yes, they help [measured].",)
    assert [dropped.reason for dropped in prose.dropped] == ["cites nothing"]
    asked = "\n".join(str(message.content) for message in model.asked[0])
    for id, text in facts(answer).items():
        assert f"[{id}] {text.splitlines()[0]}" in asked
    assert facts(answer).keys() == {"measured", claim("skip >= 1").id}
    assert [call.template for call in prose.calls] == ["answer"]


def test_a_model_that_fails_is_one_sentence(answer: Answer) -> None:
    model = ScriptedChatModel(replies=[ValueError("broken")])
    with pytest.raises(ModelError, match="No answer in prose"):
        tell(answer, Chat("scripted", lambda: model), limits=Limits(calls=1))


def test_the_command_prints_both(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ScriptedChatModel(replies=["They help [measured]. Trust me. I know it."])
    chat = Chat("scripted", lambda: model)
    monkeypatch.setattr("vitruvius.agents.models.chat_model", lambda *_, **__: chat)  # type: ignore[misc]
    monkeypatch.setattr("vitruvius.knowledge.store.default_embedder", HashingEmbedder)
    folder = str(Path(ledger.name).parent)
    result = CliRunner().invoke(app, ["ask", "do skips help?", "--run", folder, "--model", "openai:m"])
    assert result.exit_code == 0, result.output
    assert result.stdout.index("understood as: skip >= 1") < result.stdout.index("They help [measured].")
    assert "2 sentences were dropped: cites nothing" in result.stdout
    assert "Trust me" not in result.stdout
    (kept,) = ledger.events("s", "answer")
    assert kept.data["question"] == "do skips help?"
    assert kept.data["sentences"] == ["They help [measured]."]
    assert [call["reply"] for call in kept.data["calls"]] == ["They help [measured]. Trust me. I know it."]
    assert not ledger.calls("s"), "nothing that the session itself asked and paid for"
