"""An ONNX graph as nodes and arrays that can be rewritten."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

INLINED = ("Identity", "Cast")  # MindSpore casts float32 to float32
Rewrite = Callable[["Graph", Any], Any]


class Graph:
    """The nodes of a model in their order, and its constants by name."""

    def __init__(self, model: onnx.ModelProto) -> None:
        from onnx import numpy_helper

        self.model = model
        self.nodes: list[Any] = []
        self._makers: dict[str, Any] = {}
        self.constants: dict[str, np.ndarray] = {
            one.name: numpy_helper.to_array(one) for one in model.graph.initializer
        }
        renamed: dict[str, str] = {}
        for node in model.graph.node:
            for index, name in enumerate(node.input):
                node.input[index] = renamed.get(name, name)
            if node.op_type == "Constant":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            elif node.op_type in INLINED and attribute(node, "to", 1) == 1:
                renamed[node.output[0]] = node.input[0]
            else:
                self.nodes.append(node)
        self.replace(self.nodes)

    def replace(self, nodes: list[Any]) -> None:
        """Let the graph have these nodes, in this order."""
        self.nodes = nodes
        self._makers = {name: node for node in nodes for name in node.output}

    def users(self, name: str) -> list[Any]:
        """The nodes that read a value."""
        return [node for node in self.nodes if name in node.input]

    def maker(self, name: str, kind: str) -> Any:
        """The node that computes a value, when it is of this kind."""
        node = self._makers.get(name)
        return node if node is not None and node.op_type == kind else None

    def inputs(self, name: str, kind: str) -> Iterator[tuple[str, str]]:
        """Both inputs of the node of this kind that computes a value, in both orders; none for another kind."""
        node = self.maker(name, kind)
        if node is not None:
            first, second = node.input
            yield first, second
            yield second, first

    def scalar(self, name: str) -> float | None:
        """The value of a constant with one element."""
        array = self.constants.get(name)
        return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None

    def rewrite(self, change: Rewrite) -> int:
        """Put another node in the place of each one for which `change` returns one; how many these were."""
        count = 0
        for index, node in enumerate(self.nodes):
            other = change(self, node)
            if other is not None:
                self.nodes[index] = other
                self._makers.update(dict.fromkeys(other.output, other))
                count += 1
        return count

    def fold(self) -> None:
        """Compute what depends on constants alone."""
        from onnx.reference import ReferenceEvaluator

        kept = []
        for node in self.nodes:
            if all(name in self.constants for name in node.input):
                given = {name: self.constants[name] for name in node.input}
                self.constants.update(
                    zip(node.output, ReferenceEvaluator(node).run(None, given), strict=True)
                )
            else:
                kept.append(node)
        self.nodes = kept

    def drop_unused(self) -> None:
        """Drop the nodes whose values nobody uses."""
        wanted = {one.name for one in self.model.graph.output}
        used = []
        for node in reversed(self.nodes):
            if wanted & set(node.output):
                used.append(node)
                wanted.update(node.input)
        self.replace(used[::-1])

    def finished(self) -> onnx.ModelProto:
        """The model with these nodes and the constants that they use."""
        from onnx import numpy_helper

        self.drop_unused()
        wanted = {name for node in self.nodes for name in node.input}
        graph = self.model.graph
        del graph.node[:], graph.initializer[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(
            numpy_helper.from_array(array, name) for name, array in self.constants.items() if name in wanted
        )
        return self.model


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """The value of a node's attribute."""
    from onnx import helper

    found = [helper.get_attribute_value(one) for one in node.attribute if one.name == name]
    return found[0] if found else default
