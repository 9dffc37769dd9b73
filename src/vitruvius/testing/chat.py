"""A chat model that plays a script: for tests of whatever talks to a language model, without one.

```python
from vitruvius.agents.language_reasoner import LanguageReasoner
from vitruvius.testing.chat import ScriptedChatModel

model = ScriptedChatModel(replies=['{"principles": []}', TimeoutError("too slow")])
reasoner = LanguageReasoner(model)
```
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda
from pydantic import ConfigDict, Field, PrivateAttr

Scripted = str | AIMessage | Exception | Callable[[Sequence[BaseMessage]], "str | AIMessage"]
"""One step: a text, a message, an error to raise, or a function of the messages that makes a text."""
HANG = "<hang>"
"""A step that never answers, until `release` is called."""


class ScriptedChatModel(BaseChatModel):
    """Plays its replies in order, the last one again and again; records what it was asked.

    Attributes:
        replies: The script.
        structured: Whether it can be held to a schema; if not, asking so raises NotImplementedError.
        tools: Whether it can be given tools; if not, binding them raises NotImplementedError.
        asked: The messages of each call so far.
        schemas: The schema of each call so far, None where there was none.
        offered: Names of the tools of each call so far.
    """

    __test__ = False
    model_config = ConfigDict(arbitrary_types_allowed=True)

    replies: list[Any]
    structured: bool = True
    tools: bool = False
    asked: list[list[BaseMessage]] = Field(default_factory=list[list[BaseMessage]])
    schemas: list[dict[str, Any] | None] = Field(default_factory=list[dict[str, Any] | None])
    offered: list[list[str]] = Field(default_factory=list[list[str]])
    _next: int = PrivateAttr(0)
    _released: threading.Event = PrivateAttr(default_factory=threading.Event)

    @property
    def count(self) -> int:
        """How many calls were made."""
        return len(self.asked)

    def release(self) -> None:
        """Let calls that hang return."""
        self._released.set()

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        self.asked.append(list(messages))
        self.schemas.append(kwargs.get("schema"))
        self.offered.append(list(kwargs.get("offered", [])))
        step = cast("Scripted", self.replies[min(self._next, len(self.replies) - 1)])
        self._next += 1
        if isinstance(step, str) and step == HANG:
            self._released.wait()
            step = "{}"
        if isinstance(step, Exception):
            raise step
        said = step if isinstance(step, str | AIMessage) else step(messages)
        message = said if isinstance(said, AIMessage) else AIMessage(said)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def with_structured_output(
        self, schema: Any, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[Any, Any]:
        """The script again; the schema is recorded, the reply is *not* held to it."""
        if not self.structured:
            raise NotImplementedError("this model cannot be held to a schema")

        def play(messages: Any) -> dict[str, Any]:
            return {"raw": self.invoke(messages, schema=schema), "parsed": None, "parsing_error": None}

        return RunnableLambda(play)

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        """The script again; the tools are recorded, and called only where the script says so."""
        if not self.tools:
            raise NotImplementedError("this model cannot call tools")
        names = [tool["function"]["name"] if isinstance(tool, dict) else tool.name for tool in tools]
        return self.bind(offered=names)


def calls(*tools: tuple[str, dict[str, Any]], text: str = "") -> AIMessage:
    """A reply that calls these tools, each a name and its arguments."""
    made = [
        {"type": "tool_call", "name": name, "args": arguments, "id": f"call_{i}"}
        for i, (name, arguments) in enumerate(tools)
    ]
    return AIMessage(text, tool_calls=made)


__all__ = ["HANG", "Scripted", "ScriptedChatModel", "calls"]
