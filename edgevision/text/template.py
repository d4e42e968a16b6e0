"""Chat templates: code that came with a model, so it runs in Jinja's immutable sandbox, and may not grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from edgevision.errors import UserError

LONGEST = 1_000_000  # characters or elements that a product may have, and the largest factor


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's, with products that stay small: `'a' * 9999999999` would take all memory."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """The product, or the power, of two values of a template."""
        sizes = [len(v) if hasattr(v, "__len__") else abs(v) for v in (left, right)]
        if max(sizes) > LONGEST or sizes[0] * sizes[1] > LONGEST or (operator == "**" and sizes[1] > 64):
            raise TemplateError(f"{operator} of values so large")
        return super().call_binop(context, operator, left, right)


def render(template: str, messages: Sequence[Mapping[str, str]], tokens: Mapping[str, str]) -> str:
    """The prompt that a template makes of messages with `role` and `content`.

    Raises:
        UserError: the template fails, or does what the sandbox forbids.
    """

    def complain(reason: str) -> None:
        raise TemplateError(reason)

    environment = Sandbox(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = complain
    try:
        made = environment.from_string(template)
        return made.render(messages=list(messages), add_generation_prompt=True, **tokens)
    except Exception as error:
        raise UserError(f"the chat template fails: {error}") from error


__all__ = ["render"]
