"""Core ML: ML Programs for iOS 15 to 18 and macOS 12 to 15, run by Core ML on macOS and by our interpreter
elsewhere."""

from converters.targets.coreml.load import inspect, load
from converters.targets.coreml.write import prepare, write


def native_ops() -> set[str]:
    """The ops that have a rule of their own."""
    from converters.targets.coreml.rules import RULES

    return set(RULES)


__all__ = ["inspect", "load", "native_ops", "prepare", "write"]
