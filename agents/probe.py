"""Finding out whether a model can call tools, with one tiny request."""

from __future__ import annotations

from typing import Any, Literal

from vitruvius.agents.asking import Asker, Question
from vitruvius.prompts.library import Template

WANTED = 7
"""The number that the template `probe` asks for."""


def can_call_tools(asker: Asker, template: Template) -> Literal["yes", "no", "failed"]:
    """Ask for one tool call.

    Args:
        asker: Asks the model; the request is recorded and counts.
        template: The template `probe`.

    Returns:
        "failed" if the endpoint brought no reply at all, for reasons that have nothing to do with tools.
    """
    tool: dict[str, Any] = {
        "type": "function",
        "function": {
            "name": "answer", "description": "Gives the number that was asked for.", "parameters": {
                "type": "object", "required": ["number"], "additionalProperties": False,
                "properties": {"number": {"type": "integer", "description": "The number."}},
            },
        },
    }  # fmt: skip
    chat = asker.chat
    settings = chat.settings(asker.seed)
    try:
        chat.connect().bind_tools([tool], **settings)
    except NotImplementedError:
        return "no"
    messages = [(message.role, message.content) for message in template.render()]
    reply = asker.send(
        Question(template, str(messages), "probe"),
        lambda model: model.bind_tools([tool], **settings).invoke(messages),
    )
    if reply is None:
        return "no" if asker.refused() else "failed"
    calls = [call for call in reply.tool_calls if call["name"] == "answer"]
    can = bool(calls) and str(calls[0]["args"].get("number")) == str(WANTED)
    asker.mark("tools" if can else "no tools")
    return "yes" if can else "no"


__all__ = ["can_call_tools"]
