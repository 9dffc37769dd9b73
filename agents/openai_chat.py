"""LangChain's model for OpenAI-compatible endpoints, as we need it, and what it may be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatResult
from langchain_openai import ChatOpenAI
from pydantic import ValidationError

from vitruvius.agents.one_request import THOUGHTS
from vitruvius.errors import SettingsError


class EndpointChat(ChatOpenAI):
    """Keeps hidden reasoning that came with tool calls, and sends it back with them.

    LangChain drops it, since it is not part of OpenAI's own protocol. Where none came none is sent.
    """

    def _create_chat_result(self, response: Any, generation_info: dict[str, Any] | None = None) -> ChatResult:
        result = super()._create_chat_result(response, generation_info)
        for generation, choice in zip(result.generations, getattr(response, "choices", ()), strict=False):
            if thought := getattr(choice.message, THOUGHTS, None):
                generation.message.additional_kwargs[THOUGHTS] = thought
        return result

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        payload = super()._get_request_payload(input_, stop=stop, **kwargs)
        messages = self._convert_input(input_).to_messages()
        for message, sent in zip(messages, payload.get("messages", ()), strict=False):
            thought = message.additional_kwargs.get(THOUGHTS)
            if thought and isinstance(message, AIMessage) and message.tool_calls:
                sent[THOUGHTS] = thought
        return payload


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options that an OpenAI-compatible endpoint cannot be given.

    Raises:
        SettingsError: An unknown name, or a value of the wrong kind.
    """
    fields = ChatOpenAI.model_fields
    known = fields.keys() | {field.alias for field in fields.values() if field.alias}
    for name in options:
        if name not in known:
            raise SettingsError(
                f"model_options: {name!r} is no argument of LangChain's ChatOpenAI. Take one that is, or put "
                'what only the endpoint knows into extra_body: {"extra_body": {...}}.'
            )
    try:
        ChatOpenAI(model="any", api_key=lambda: "none", **options)
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{'.'.join(map(str, first['loc']))} = {first['input']!r}"
        raise SettingsError(f"model_options: {where} is not allowed: {first['msg']}.") from None


__all__ = ["EndpointChat", "check_options"]
