"""One matcher for all graph rewriting: `Rule(pattern, replace, check)`, and the loop that applies rules.

    Rule("relu", op("Maximum", x, const("zero")), check=lambda m: is_zero(m["zero"]), replace=lambda b, m:
    b("ReLU", m["x"]))

A pattern is a tree over values: `op(...)` matches a value computed by a node, `const(...)` a constant,
`var(...)` anything, `either(...)` one of several patterns. Operands of commutative ops are tried in both
orders. Inner values of a match must have no other users, except where the pattern says `shared`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from converters.graph import Builder, Graph, Node, Value
from converters.ops import OPS
from converters.ops.elementwise import COMMUTATIVE
from converters.ops.integer import STORED
from converters.sizes import is_static, product

FOLD_LIMIT = 1 << 16  # elements that folding may add beyond those of its operands
FEW = 16  # elements of unnamed constants that are compared by content


@dataclass(frozen=True)
class Pattern:
    """A tree over values; build it with `var`, `const` and `op`."""

    kind: str
    name: str = ""
    ops: tuple[str, ...] = ()
    operands: tuple[Pattern, ...] | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)
    shared: bool = False


def var(name: str) -> Pattern:
    """Any value; the same name must match the same value."""
    return Pattern("var", name)


def const(name: str) -> Pattern:
    """A constant."""
    return Pattern("const", name)


def op(ops: str, *operands: Pattern, name: str = "", shared: bool = False, **attrs: Any) -> Pattern:
    """A value computed by one of `ops` ("Add|Subtract").

    Args:
        operands: patterns of all operands; none: any operands.
        name: binds the value, `match.node(name)` gives the node.
        shared: the value may have other users.
        attrs: required attribute values.
    """
    return Pattern("op", name, tuple(ops.split("|")), operands or None, attrs, shared)


def either(*alternatives: Pattern) -> Pattern:
    """A value that matches one of the alternatives, tried in this order."""
    return Pattern("either", operands=alternatives)


class Match:
    """What a pattern's names stand for."""

    def __init__(self, graph: Rewriter, root: Node):
        self.graph, self.root = graph, root
        self.bound: dict[str, Value] = {}

    def __getitem__(self, name: str) -> Value:
        return self.bound[name]

    def node(self, name: str) -> Node:
        """The node that computes a named op of the pattern."""
        return self.graph.producers[self.bound[name]]

    def array(self, name: str) -> np.ndarray:
        """The elements of a named constant."""
        return self.graph.constants[self.bound[name]]

    def number(self, name: str) -> float | None:
        """The value of a constant whose elements are all equal, else None."""
        array = self.array(name)
        if array.size == 0 or array.dtype.kind == "c":
            return None
        first = array.reshape(-1)[0]
        return float(first) if array.size == 1 or bool(np.all(array == first)) else None


@dataclass(frozen=True)
class Rule:
    """One rewriting.

    Attributes:
        name: for messages and tests.
        pattern: the root is an `op` pattern.
        replace: builder and match to the value (or values) in place of the root's outputs.
        check: the reason to leave a match alone, or None to go on.
    """

    name: str
    pattern: Pattern
    replace: Callable[[Builder, Match], Value | tuple[Value, ...]]
    check: Callable[[Match], str | None] | None = None


class Rewriter(Builder):
    """A graph being rewritten: nodes are re-emitted in order, and each is offered to the rules as a root."""

    def __init__(self, graph: Graph, rules: Sequence[Rule] = ()):
        super().__init__()
        self.constants = dict(graph.constants)
        self.producers: dict[Value, Node] = {}
        self.substitutes: dict[Value, Value] = {}
        self.uses: dict[Value, int] = {}
        self.by_root: dict[str, list[Rule]] = {}
        self.changes: list[str] = []
        self.depth = 0
        self.views: dict[Any, Value] = {}
        self.known: dict[Any, tuple[Value, ...]] = {}
        self.source = graph
        self.facts: dict[Any, Any] = {}  # what checks found out and need not find out again
        for value, array in graph.constants.items():
            known = self.views.setdefault(_view(value, array), value)
            if known is not value and value.name == known.name:
                self.substitutes[value] = known
        for rule in rules:
            for name in rule.pattern.ops:
                self.by_root.setdefault(name, []).append(rule)
        for node in graph.nodes:
            for value in node.inputs:
                self.uses[value] = self.uses.get(value, 0) + 1
        for value in graph.outputs.values():
            self.uses[value] = self.uses.get(value, 0) + 1
        for old, new in self.substitutes.items():
            self.uses[new] = self.uses.get(new, 0) + self.uses.get(old, 0)

    def constant(self, array: Any, name: str = "constant", dtype: str | None = None) -> Value:
        """As Builder; the same memory seen in the same way, or the same few numbers, are one constant."""
        value = super().constant(array, name, dtype)
        known = self.views.setdefault(_view(value, self.constants[value]), value)
        if known is not value:
            del self.constants[value]
        return known

    def outputs(self, op: str, *inputs: Value, name: str = "", **attrs: Any) -> tuple[Value, ...]:
        """As Builder, for the nodes that a replacement makes: folded, and offered to the rules in turn."""
        inferred = OPS[op].infer(*inputs, **attrs)
        for value in inputs:
            self.uses[value] = self.uses.get(value, 0) + 1
        outputs = tuple(Value(name or op.lower(), shape, dtype) for shape, dtype in inferred)
        return self.emit(Node(op, inputs, outputs, attrs))

    def emit(self, node: Node) -> tuple[Value, ...]:
        """Add a node, or what stands for it; gives the values that carry its outputs now."""
        key = (node.op, node.inputs, *sorted(node.attrs.items()))
        known = self.known.get(key)
        if known is not None and known != node.outputs:
            return self._same(node, known)
        results = self.fold(node)
        if results is None and self.depth < 50:
            self.depth += 1
            results = self.apply(node)
            self.depth -= 1
        if results is None:
            self.nodes.append(node)
            self.producers.update(dict.fromkeys(node.outputs, node))
            results = node.outputs
        self.known[key] = results
        return results

    def _same(self, node: Node, known: tuple[Value, ...]) -> tuple[Value, ...]:
        """The outputs of an earlier node that computes the same in place of this one's."""
        for old, new in zip(node.outputs, known, strict=True):
            self.substitutes[old] = new
            self.uses[new] = self.uses.get(new, 0) + self.uses.get(old, 0)
        for value in node.inputs:
            self.uses[value] = self.uses.get(value, 0) - 1
        self.changes.append("same")
        return known

    def apply(self, node: Node) -> tuple[Value, ...] | None:
        """The replacement by the first rule that matches, or None."""
        for rule in self.by_root.get(node.op, ()):
            for match in self.matches(rule.pattern, node):
                if rule.check is not None and rule.check(match) is not None:
                    continue
                result = rule.replace(self, match)
                results = result if isinstance(result, tuple) else (result,)
                for old, new in zip(node.outputs, results, strict=True):
                    same = old.shape == new.shape and old.dtype == new.dtype
                    assert same, f"{rule.name}: {old} became {new}"
                    self.substitutes[old] = new
                    self.uses[new] = self.uses.get(new, 0) + self.uses.get(old, 0)
                self.changes.append(rule.name)
                return results
        return None

    def stand_in(self, old: Value, new: Value) -> None:
        """From now on `new` is read in place of `old`, a value inside the match that outputs may read."""
        self.substitutes[old] = new
        self.uses[new] = self.uses.get(new, 0) + self.uses.get(old, 0)

    def matches(self, pattern: Pattern, node: Node) -> Iterator[Match]:
        """All ways in which the pattern matches with `node` as its root."""
        match = Match(self, node)
        for output in node.outputs:
            self.producers.setdefault(output, node)
        try:
            if pattern.name:
                match.bound[pattern.name] = node.outputs[0]
            for _ in self._operands(pattern, node, match):
                yield match
        finally:
            for output in node.outputs:
                del self.producers[output]

    def _operands(self, pattern: Pattern, node: Node, match: Match) -> Iterator[None]:
        if any(node.attrs.get(key) != value for key, value in pattern.attrs.items()):
            return
        if pattern.operands is None:
            yield
            return
        if len(pattern.operands) != len(node.inputs):
            return
        orders: list[tuple[Value, ...]] = [node.inputs]
        if node.op in COMMUTATIVE:
            orders.append(node.inputs[::-1])
        for order in orders:
            yield from self._all(list(zip(pattern.operands, order, strict=True)), match)

    def _all(self, pairs: list[tuple[Pattern, Value]], match: Match) -> Iterator[None]:
        if not pairs:
            yield
            return
        for _ in self._value(*pairs[0], match):
            yield from self._all(pairs[1:], match)

    def _value(self, pattern: Pattern, value: Value, match: Match) -> Iterator[None]:
        if pattern.name in match.bound:
            if match.bound[pattern.name] is value:
                yield
            return
        if pattern.kind == "const" and value not in self.constants:
            return
        if pattern.kind == "either":
            for alternative in pattern.operands or ():
                yield from self._value(alternative, value, match)
            return
        if pattern.kind == "op":
            node = self.producers.get(value)
            if node is None or node.op not in pattern.ops or len(node.outputs) != 1:
                return
            if not pattern.shared and self.uses.get(value, 0) > 1:
                return
            if pattern.name:
                match.bound[pattern.name] = value
            yield from self._operands(pattern, node, match)
        else:
            if pattern.name:
                match.bound[pattern.name] = value
            yield
        if pattern.name:
            match.bound.pop(pattern.name, None)

    def fold(self, node: Node) -> tuple[Value, ...] | None:
        """The constants that a node of constants computes, where they are not much larger than their
        operands."""
        if (
            node.op == "Broadcast"
            or node.op in STORED
            or any(value not in self.constants for value in node.inputs)
        ):
            return None
        if not all(is_static(value.shape) for value in node.outputs) or _depends_on_sizes(node):
            return None
        total = sum(int(product(value.shape)) for value in node.outputs)  # type: ignore[arg-type]
        if total > FOLD_LIMIT + sum(self.constants[value].size for value in node.inputs):
            return None
        arrays = OPS[node.op].evaluate([self.constants[value] for value in node.inputs], node.attrs)
        named = [value.name for value in node.inputs if value.name != "constant"]
        name = named[0] if len(named) == 1 else "constant"
        results = tuple(self.constant(array, name) for array in arrays)
        for old, new in zip(node.outputs, results, strict=True):
            assert str(old) == str(new), f"{node.op}: folds {old} to {new}"
            self.substitutes[old] = new
        return results

    def resolve(self, value: Value) -> Value:
        """What stands for a value of the old graph now."""
        while value in self.substitutes:
            value = self.substitutes[value]
        return value


def _view(value: Value, array: np.ndarray) -> Any:
    if array.size <= FEW and value.name == "constant":
        return array.tobytes(), value.shape, value.dtype
    view = array.__array_interface__
    return view["data"] if array.size else id(array), view["strides"], value.shape, value.dtype


def _depends_on_sizes(node: Node) -> bool:
    from converters.sizes import sizes_in

    return any(True for attr in node.attrs.values() for _ in sizes_in(attr))


def rewrite(graph: Graph, rules: Sequence[Rule]) -> Graph:
    """Apply the rules wherever they match until none does; constants fold and dead nodes go."""
    changes: list[str] = []
    for _ in range(30):
        rewriter = Rewriter(graph, rules)
        for node in graph.nodes:
            inputs = tuple(rewriter.resolve(value) for value in node.inputs)
            changed = any(new is not old for new, old in zip(inputs, node.inputs, strict=True))
            rewriter.emit(Node(node.op, inputs, node.outputs, node.attrs) if changed else node)
        outputs = {name: rewriter.resolve(value) for name, value in graph.outputs.items()}
        graph = without_dead(graph, rewriter.nodes, rewriter.constants, outputs)
        changes = rewriter.changes
        if not changes:
            return graph
    raise AssertionError(f"rules undo each other: {sorted(set(changes))}")


def without_dead(
    graph: Graph, nodes: Iterable[Node], constants: Mapping[Value, np.ndarray], outputs: Mapping[str, Value]
) -> Graph:
    """The graph with only what its outputs need."""
    needed = set(outputs.values())
    kept = []
    for node in reversed(list(nodes)):
        if any(value in needed for value in node.outputs):
            kept.append(node)
            needed.update(node.inputs)
    used = {value: array for value, array in constants.items() if value in needed}
    return graph.replace(nodes=tuple(kept[::-1]), constants=used, outputs=dict(outputs))
