"""What a person wants of a training: of its result, and of this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgevision.errors import UserError
from edgevision.training.recipe import Recipe


@dataclass(frozen=True)
class Machine:
    """What this machine may and should do.

    Attributes:
        batch_auto: find the batch size that is fastest here, in place of the recipe's.
        memory_limit: bytes that arrays may take. tensorboard: whether to write event files.
    """

    batch_auto: bool = False
    memory_limit: int | None = None
    tensorboard: bool = False


def settled(
    wishes: Mapping[str, Any], before: dict[str, Any] | None, fixed: Mapping[str, Any], recipe: Recipe
) -> dict[str, Any]:
    """Everything that decides about a training: what was `begun` before, else `fixed` and `recipe` with what
    is wished; wishes that are None are none.

    Raises:
        UserError: another training was begun; the settings that differ are named.
    """
    given = {name: value for name, value in wishes.items() if value is not None}
    if before is None:
        own = {name: value for name, value in given.items() if name not in fixed}
        known = {name: given.get(name, value) for name, value in fixed.items()}
        return {**known, "recipe": asdict(replace(recipe, **own))}
    old = {**before, **before["recipe"]}
    told = [f"{name} was {old.get(name)}, is {v}" for name, v in given.items() if old.get(name) != v]
    if told:
        raise UserError(
            f"it was begun with other settings: {', '.join(told)}",
            hint="leave these options out, or train anew with --force",
        )
    return before


def begun(live: Path, kind: type[Recipe]) -> dict[str, Any] | None:
    """What `settled` gave when the training in `live` began; None where none did.

    Raises:
        UserError: the record is damaged, or has a recipe of another version.
    """
    path = live / "training.json"
    try:
        asked = json.loads(path.read_bytes())
        kind(**asked["recipe"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error}", hint="train anew with --force") from error
    return asked


__all__ = ["Machine", "begun", "settled"]
