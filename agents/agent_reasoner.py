"""The road for models that can call tools: a LangChain agent investigates, tests, and hands in principles.

LangChain's agent runs the loop; the supervisor here stands at its two doors. Each request to the model goes
through an `Asker` (limits, retries, cache, record) and each tool call to a `Toolbox` (one sentence in place
of an exception). When the budget is nearly used up, only handing in is left to the model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, hook_config
from langchain.agents.middleware.types import ModelRequest, ModelResponse
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from vitruvius.agents.asking import Asker, Question, text_of
from vitruvius.agents.failures import Failure, is_cut
from vitruvius.agents.spending import Cap
from vitruvius.agents.tools import CUT_OFF, SUBMIT, Toolbox, langchain_tools
from vitruvius.prompts.library import Message, Template

if TYPE_CHECKING:
    from langchain.agents.middleware.types import ToolCallRequest
    from langgraph.types import Command

STEPS = 1000
"""Steps of LangChain's loop, far beyond what the limits on requests allow."""


def investigate(
    asker: Asker, template: Template, messages: Sequence[Message], last: str, toolbox: Toolbox
) -> None:
    """Let the model work until it has handed in, gives up, or a limit is reached; never an exception.

    Args:
        asker: Asks the model; its records and failures tell what happened.
        template: What the messages were rendered from.
        messages: What the agent is told: a system message, if any, then the others.
        last: What it is told when only handing in is left.
        toolbox: Answers its calls; holds what it handed in.
    """
    system = messages[0].content if messages[0].role == "system" else None
    rest = messages[1:] if system is not None else messages
    supervisor = _Supervisor(asker, template, last, toolbox)
    try:
        agent: Any = create_agent(
            asker.chat.connect(), langchain_tools(), system_prompt=system, middleware=[supervisor]
        )
        agent.invoke(
            {"messages": [{"role": m.role, "content": m.content} for m in rest]},
            {"max_concurrency": 1, "recursion_limit": STEPS},  # one by one: the same order every time
        )
    except Exception as error:  # the loop is LangChain's: what it raises must not end a long search
        said = f"The agent was stopped by {type(error).__name__}: {str(error)[:200]}"
        asker.failures.append(Failure("agent error", said))


class _Supervisor(AgentMiddleware[Any, Any, Any]):
    """Stands between LangChain's agent, the model and the tools."""

    def __init__(self, asker: Asker, template: Template, last: str, toolbox: Toolbox) -> None:
        super().__init__()
        self._asker = asker
        self._template = template
        self._last = last
        self._toolbox = toolbox
        self._nudged = False
        self._stopped = False
        self._cut_short = False

    @hook_config(can_jump_to=["end"])
    def before_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """End where everything is handed in."""
        return {"jump_to": "end"} if self._toolbox.done or self._stopped else None

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Send a request within the limits; the last one leaves only handing in."""
        asker = self._asker
        request = request.override(
            tool_choice=asker.chat.tool_choice, model_settings=asker.chat.settings(asker.seed)
        )
        cap = asker.nearly_spent()
        if cap is not None:
            self._tell(cap)
        if self._nudged or cap is not None:
            told: list[AnyMessage] = [*request.messages, HumanMessage(self._last)]
            submit = [tool for tool in request.tools if getattr(tool, "name", "") == SUBMIT]
            request = request.override(messages=told, tools=submit)
        question = Question(self._template, _body(request), _offered(request))
        answer = asker.send(question, lambda model: _only_message(handler(request.override(model=model))))
        if answer is None:
            if asker.cap is not None:
                self._tell(asker.cap)
            self._stopped = True
            return ModelResponse(result=[AIMessage("")])
        return ModelResponse(result=[_mended(answer)])

    @hook_config(can_jump_to=["model"])
    def after_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """Take principles that came as text; a model that stops without any is told once to hand in."""
        said: BaseMessage = state["messages"][-1]
        if self._stopped or not isinstance(said, AIMessage) or said.tool_calls:
            return None
        if self._toolbox.submissions:
            self._toolbox.done = True  # it was told what was wrong, and has nothing to add
            return None
        if self._toolbox.take_text(text_of(said), len(self._asker.calls) - 1):
            self._asker.mark(self._toolbox.outcome)
            return {"jump_to": "model"}
        self._asker.mark(_silence(said, self._toolbox))
        if self._nudged:
            return None
        self._nudged = True
        return {"jump_to": "model"}

    def _tell(self, cap: Cap) -> None:
        """Say, once, which limit ends the work before anything is handed in and all requests are used."""
        asker = self._asker
        if cap.setting and not self._cut_short and not self._toolbox.submissions:
            self._cut_short = True
            asker.notes.append(
                f"The investigation was cut short by {cap.setting} after {asker.sent} of {asker.budget} "
                f"requests: {cap.sentence}"
            )

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage:
        """Answer a tool call."""
        call, number = request.tool_call, len(self._asker.calls) - 1
        answer = self._toolbox.answer(call["name"], call["args"], number)
        if call["name"] == SUBMIT:
            self._asker.mark(self._toolbox.outcome)
        return ToolMessage(answer, tool_call_id=call["id"] or "", name=call["name"])


def _silence(said: AIMessage, toolbox: Toolbox) -> str:
    """The outcome of a reply without any call or principle."""
    if is_cut(said):
        return "cut off"
    return "no principles" if toolbox.answered else "not JSON"


def _only_message(response: ModelResponse[Any]) -> AIMessage:
    message = response.result[0]
    if not isinstance(message, AIMessage):
        raise TypeError(f"a {type(message).__name__} came in place of a reply")
    return message


def _mended(message: AIMessage) -> AIMessage:
    """The reply with every tool call in a form that can be answered.

    Broken arguments are passed on as text: what is whole of a submission that was cut off is taken. Ids of
    messages are dropped, since some endpoints give the same to all, and the loop keeps one of each.
    """
    calls: list[Any] = [{**call, "id": call["id"] or f"call{i}"} for i, call in enumerate(message.tool_calls)]
    calls += [
        {"type": "tool_call", "name": call["name"] or "", "id": call["id"] or f"broken{i}",
         "args": {CUT_OFF: call["args"] or ""}}
        for i, call in enumerate(message.invalid_tool_calls)
    ]  # fmt: skip
    more = {k: v for k, v in message.additional_kwargs.items() if k not in ("tool_calls", "function_call")}
    return message.model_copy(
        update={"id": None, "tool_calls": calls, "invalid_tool_calls": [], "additional_kwargs": more}
    )


def _body(request: ModelRequest[Any]) -> str:
    """The conversation as text, without ids, which endpoints draw at random."""
    messages: list[AnyMessage] = [*request.messages]
    if request.system_message is not None:
        messages.insert(0, SystemMessage(request.system_message.content))
    return json.dumps([_plain(message) for message in messages], ensure_ascii=False, default=str)


def _plain(message: AnyMessage) -> list[Any]:
    if isinstance(message, AIMessage):
        return [message.type, message.content, [[c["name"], c["args"]] for c in message.tool_calls]]
    return [message.type, message.content]


def _offered(request: ModelRequest[Any]) -> str:
    """The tools as a model sees them: part of what is asked, and paid for."""
    shown = [[getattr(t, "name", ""), getattr(t, "description", ""), getattr(t, "args_schema", "")]
             for t in request.tools]  # fmt: skip
    return json.dumps([shown, request.tool_choice], sort_keys=True, default=str)


__all__ = ["investigate"]
