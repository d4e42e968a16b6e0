"""Which states are buffers that a function changes in place: those of fixed sizes.

A state that grows with every call goes in and out as an array instead; `Artifact.run` hides the difference.
"""

from __future__ import annotations

from converters.metadata import Signature
from converters.sizes import is_static
from converters.specs import Image


def buffers_of(signature: Signature, layout: str | None) -> dict[str, str]:
    """State to the output that carries it on, for those that are buffers: none on the Neural Engine."""
    if layout is not None:
        return {}
    specs = signature.inputs
    return {
        state: result
        for state, result in signature.states.items()
        if not isinstance(spec := specs[state], Image) and is_static(spec.shape)
    }
