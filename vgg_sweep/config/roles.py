"""What each field of the schema declares: whether it decides a result, and which values it may have."""

import math
import operator
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any


class Role(Enum):
    """What changes with a field. Run ids, a report's settings, the notes of a plan, and `run=` read it here alone."""

    NET = "which net it is: decides the result, and the rows of a table differ in it"
    SETTING = "decides the result, and all rows of a table share it"
    ARITHMETIC = "decides the result by its rounding, where it is named"
    ROUNDING = "may change the last bits, which makes no other run"
    DATA = "where the data are found; their fingerprint says whether they are the same"
    WORK = "the way of working: on what and how the work is done, and what is shown of it"
    REQUEST = "what is asked for, and where it goes"


@dataclass(frozen=True)
class Rules:
    """The role of a field, and the values it may have: one of `choices`, or a number within bounds."""

    role: Role
    choices: tuple[str, ...] = ()
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    dropped: tuple[str, ...] = ()
    """Values of runs made before, which decide their results; nothing is made with them any more."""

    def decides(self, value: Any) -> bool:
        """Whether `value`, where it is not the field's default, makes another result."""
        return self.role in (Role.NET, Role.SETTING, Role.ARITHMETIC) or value in self.dropped

    def complaint(self, value: Any) -> str | None:
        """What to say of a `value` that cannot be, such as "must be at least 0"; None if it can."""
        if self.choices:
            is_known = value in (*self.choices, *self.dropped)
            return None if is_known else f"is not known; choose one of {', '.join(self.choices)}"
        if not isinstance(value, int | float):
            return None
        if not math.isfinite(value):
            return "must be a finite number"
        bounds = [
            (operator.gt, "greater than", self.above),
            (operator.ge, "at least", self.at_least),
            (operator.lt, "less than", self.below),
        ]
        set_bounds = [(holds, words, limit) for holds, words, limit in bounds if limit is not None]
        if all(holds(value, limit) for holds, _, limit in set_bounds):
            return None
        return "must be " + " and ".join(f"{words} {limit:g}" for _, words, limit in set_bounds)


def _field(role: Role, default: Any, **rules: Any) -> Any:
    """A dataclass field with its `Rules` as metadata; a list becomes a default factory."""
    metadata = {"rules": Rules(role, **rules)}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


net, setting = partial(_field, Role.NET), partial(_field, Role.SETTING)
arithmetic, rounding = partial(_field, Role.ARITHMETIC), partial(_field, Role.ROUNDING)
where, work, request = partial(_field, Role.DATA), partial(_field, Role.WORK), partial(_field, Role.REQUEST)
