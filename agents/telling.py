"""An answer told in prose by a language model, held to what was measured.

The model sees the facts of a `knowledge.answer.Answer`, each with an id, and nothing else. Of its reply only
sentences are kept that cite ids of these facts, whose numbers stand in what they cite (with their sign, where
one is written), and whose yes or no is the measured one. What is dropped is counted and told; the figures
beside the prose are never the model's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from vitruvius.agents.asking import Asker, Limits
from vitruvius.agents.models import Chat
from vitruvius.agents.reasoner import ModelCall
from vitruvius.errors import ModelError
from vitruvius.knowledge.answer import Answer
from vitruvius.knowledge.answer_text import effect_text, space_lines
from vitruvius.knowledge.ledger import Ledger
from vitruvius.prompts.library import find

MEASURED = "measured"
"""Id of what was measured; principles have their own."""
MOST_SENTENCES = 12
_CITED = re.compile(r"\[([^\[\]]*)\]")
_LATE = re.compile(r"([.!?])\s*((?:\[[^\[\]]*\]\s*)+)")
_MINUS = str.maketrans("\u2212\u2013", "--")
_VERDICT = re.compile(r"(?i)(yes)\b|(no)\s*[\[,.;:!\u2013\u2014-]|(cannot be told)")
"""How a sentence, or a line of the facts, answers; "No architecture" is no answer."""
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?![\w]|\.\d)")


@dataclass(frozen=True, slots=True)
class Dropped:
    """A sentence of the model that was not kept, and why."""

    sentence: str
    reason: str


@dataclass(frozen=True, slots=True)
class Prose:
    """What a model made of the facts.

    Attributes:
        sentences: Those that are kept, each with its ids.
        dropped: Those that are not.
        calls: What was asked, for the record.
    """

    sentences: tuple[str, ...]
    dropped: tuple[Dropped, ...]
    calls: tuple[ModelCall, ...] = ()


def tell(answer: Answer, chat: Chat, *, limits: Limits | None = None, templates: Path | None = None) -> Prose:
    """Let a language model answer from the facts, with the template `answer`.

    Args:
        answer: What is known.
        chat: The model; the caller closes it.
        limits: What may be spent.
        templates: Folder whose templates override ours.

    Raises:
        ModelError: No reply could be had.
        TemplateError: The template has problems.
    """
    template = find("answer", templates)
    known = facts(answer)
    messages = template.render(
        question=answer.question,
        facts=[{"id": id, "text": line} for id, text in known.items() for line in text.splitlines()],
    )
    chat.connect()  # a server that starts does so before the clock runs
    asker = Asker(chat, limits or Limits(calls=3), seed=0, structured=False)
    reply = asker.ask(template, messages, {})
    if reply is None:
        raise ModelError(f"No answer in prose: {asker.failures[-1].sentence}")
    kept = held_to(reply, known, answer.question)
    return Prose(kept.sentences, kept.dropped, tuple(asker.calls))


def keep(answer: Answer, prose: Prose, ledger: Ledger) -> None:
    """Keep a told answer in the ledger, with its calls, as an event `answer` of the newest session.

    It is no call of that session: a question that is asked later does not count against its limits.
    """
    sessions = ledger.sessions()
    if sessions:
        ledger.log(sessions[-1].id, "answer", {"question": answer.question, **asdict(prose)})


def facts(answer: Answer) -> dict[str, str]:
    """What may be cited: id -> text, one fact a line."""
    several = len(answer.spaces) > 1
    lines = [f"not understood: {', '.join(answer.unknown)}"] if answer.unknown else []
    lines += [
        line.replace(f"[{MEASURED}]", "").strip()
        for each in answer.spaces
        for line in space_lines(each, several)
    ]
    lines += answer.notes
    known = {MEASURED: "\n".join(lines)} if lines else {}
    for match in answer.nearest:
        principle, joined = match.principle, match.principle.evidence.joined
        told = "not tested yet" if joined is None else effect_text(joined)
        known[principle.id] = f"{principle.status.value}: {principle.told} {told}"
    return known


def held_to(reply: str, known: Mapping[str, str], question: str = "") -> Prose:
    """Keep the sentences of a reply that cite facts, say no number that is not in them, and no other verdict.

    Args:
        reply: A model's text.
        known: What may be cited: id -> text.
        question: Its numbers may be repeated.
    """
    kept: list[str] = []
    dropped: list[Dropped] = []
    for sentence in _sentences(reply):
        reason = _fault(sentence, known, question)
        if reason is None and len(kept) == MOST_SENTENCES:
            reason = f"more than {MOST_SENTENCES} sentences"
        if reason is None:
            kept.append(sentence)
        else:
            dropped.append(Dropped(sentence, reason))
    return Prose(tuple(kept), tuple(dropped))


def _fault(sentence: str, known: Mapping[str, str], question: str) -> str | None:
    """Why a sentence is not kept; None if it is."""
    cited = [name for group in _CITED.findall(sentence) for name in re.split(r"[,;\s]+", group) if name]
    if not cited:
        return "cites nothing"
    foreign = [name for name in cited if name not in known]
    if foreign:
        return f"cites {foreign[0]!r}, which is no fact"
    allowed = _numbers(" ".join([question, *(known[name] for name in cited)]))
    for told in _NUMBER.findall(_CITED.sub("", sentence.translate(_MINUS))):
        digits = len(told.partition(".")[2])
        of = allowed if told[0] in "+-" else {abs(number) for number in allowed}  # "hurts by 0.11" has none
        if not any(abs(float(told) - round(number, digits)) < 1e-9 for number in of):
            return f"says {told}, which is not in what it cites"
    return _denied(sentence, known[MEASURED]) if MEASURED in cited else None


def _denied(sentence: str, measured: str) -> str | None:
    """Why a sentence that begins with yes or no says what was not measured; None if it does not."""
    said, *verdicts = (_VERDICT.match(line) for line in [sentence, *measured.splitlines()])
    found = {verdict[0].rstrip(" ,.;:").lower() for verdict in verdicts if verdict is not None}
    if said is None or said[3] or "cannot" in sentence or not found:
        return None
    word = (said[1] or said[2]).lower()
    return None if word in found else f"says {word} where the verdict is: {', '.join(sorted(found))}"


def _numbers(text: str) -> set[float]:
    """The numbers of a text; those inside of names such as conv3x3 are none."""
    plain = re.sub(r"(?<=\d)(?:[kmg]|ms|us|s|%)\b|%", "", text.translate(_MINUS), flags=re.IGNORECASE)
    return {float(told) for told in _NUMBER.findall(plain)}


def _sentences(reply: str) -> Iterator[str]:
    """The sentences of a reply; ids that stand behind the full stop are taken before it."""
    plain = re.sub(r"<think>.*?</think>|\x1b\[[0-9;]*[A-Za-z]", " ", reply, flags=re.DOTALL)
    plain = "".join(letter if letter.isprintable() else " " for letter in plain)
    plain = _LATE.sub(lambda found: f" {found[2].strip()}{found[1]} ", plain)
    for part in re.split(r"(?<=[.!?])\s+(?!\[)", plain):
        sentence = " ".join(part.split()).lstrip("-*# ")
        if sentence:
            yield sentence
