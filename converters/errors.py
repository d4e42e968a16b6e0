"""Everything that a conversion refuses, in one tree.

    ConversionError
    ├── CaptureError      the function cannot be recorded, or two recordings of it differ
    ├── LoadError         a file is not an artefact that can be run
    ├── OutputExists      the output is there, and may not or must not be replaced
    ├── ParityError       the artefact does not compute what the function computes
    ├── ShapeError        ranks, sizes or dtypes contradict each other
    └── UnsupportedOp     the target has no rule for an op and no expansion reaches one

A message says where, what was expected and what came; the hint says what to do.
"""

from __future__ import annotations

from collections.abc import Mapping


class ConversionError(Exception):
    """Base of all errors of the compiler; `str()` is the message and, on its own line, the hint."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class CaptureError(ConversionError):
    """The function cannot be recorded, or its recordings at two sizes differ."""


class LoadError(ConversionError):
    """The file is missing, damaged, or not an artefact."""


class OutputExists(ConversionError):
    """The output is there already, and overwriting was not asked for or would destroy what is not ours."""


class ParityError(ConversionError):
    """The artefact and the function disagree by more than the tolerance."""


class ShapeError(ConversionError):
    """Ranks, sizes or dtypes contradict each other."""


class UnsupportedOp(ConversionError):
    """The target cannot express an op; the message lists every such op of the graph at once."""

    @classmethod
    def listing(cls, missing: Mapping[str, str]) -> UnsupportedOp:
        """The error for several ops; `missing` maps an op, with its reason, to the weight nearest to it."""
        parts = [f"{op} (near {where})" if where else op for op, where in missing.items()]
        return cls(
            f"cannot convert {', '.join(parts)}", hint="compute this part outside, or with other operations"
        )


__all__ = [
    "CaptureError",
    "ConversionError",
    "LoadError",
    "OutputExists",
    "ParityError",
    "ShapeError",
    "UnsupportedOp",
]
