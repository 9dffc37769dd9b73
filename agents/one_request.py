"""One request to a chat model: sent, waited for, and what came back."""

from __future__ import annotations

import contextvars
import json
import queue
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from vitruvius.agents.failures import Failure
from vitruvius.agents.models import Chat
from vitruvius.prompts.library import Message

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage

THOUGHTS = "reasoning_content"
"""Where many endpoints put hidden reasoning; some (DeepSeek) want it back beside the tool calls it led to."""


def invoke(
    chat: Chat,
    model: BaseChatModel,
    messages: Sequence[Message],
    schema: dict[str, Any] | None,
    seed: int,
) -> AIMessage:
    """One request for text.

    Args:
        chat: How the model is best asked.
        model: The model.
        messages: The whole conversation.
        schema: What the endpoint holds the reply to; None asks for any text.
        seed: Passed on where the endpoint takes one.
    """
    asked = [(message.role, message.content) for message in messages]
    extra = chat.settings(seed)
    if schema is None:
        return model.invoke(asked, **extra)
    titled = {"title": "reply", "description": "The reply.", **schema}
    runnable = model.with_structured_output(titled, include_raw=True, **chat.structured, **extra)
    answer: Any = runnable.invoke(asked)
    message, parsed = answer["raw"], answer["parsed"]
    if str(message.text).strip():
        return message
    # Some providers answer a schema with a tool call.
    arguments = message.tool_calls[0]["args"] if message.tool_calls else parsed
    text = json.dumps(arguments) if arguments is not None else ""
    return message.model_copy(update={"content": text, "tool_calls": [], "invalid_tool_calls": []})


def within(seconds: float, call: Callable[[], Any], name: str) -> Any:
    """Run the call in a thread for at most so long; the thread of a call that hangs is left behind."""
    result: queue.SimpleQueue[Any] = queue.SimpleQueue()
    context = contextvars.copy_context()  # an agent's request looks its surroundings up there
    threading.Thread(target=lambda: result.put(context.run(call)), daemon=True).start()
    try:
        return result.get(timeout=max(seconds, 0.001))
    except queue.Empty:
        said = f"{name} did not answer within {seconds:.0f} s."
        return Failure("endpoint slow", said, charged=None)


def text_of(message: AIMessage) -> str:
    """What a model said: its text, or the tool calls that it made, as JSON."""
    text = str(message.text)
    calls = [{"tool": call["name"], "arguments": call["args"]} for call in message.tool_calls]
    calls += [{"tool": call["name"], "arguments": call["args"]} for call in message.invalid_tool_calls]
    if not calls:
        return text
    said = json.dumps(calls, ensure_ascii=False, default=str)
    return f"{text}\n{said}" if text.strip() else said


def tokens_of(message: AIMessage) -> tuple[int, int] | None:
    """Tokens of prompt and reply; None if the endpoint does not tell."""
    usage = message.usage_metadata
    if usage is None or not usage["input_tokens"]:
        return None
    return usage["input_tokens"], usage["output_tokens"]


__all__ = ["THOUGHTS", "invoke", "text_of", "tokens_of", "within"]
