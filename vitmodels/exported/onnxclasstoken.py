"""The end of an exported net, computed for the class token alone.

The logits depend on one token of each image. Behind the last attention the tokens no longer see one another, so
the last MLP need not be computed for the other tokens: 6 % of the matrix products of ViT-B.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vitmodels.exported.onnxgraph import Graph, attribute

BY_ROW = (
    "Add",
    "Gelu",
    "LayerNormalization",
    "Gemm",
)  # a row of their output needs the same row of their inputs only


def class_token_early(graph: Graph) -> int:
    """Take the class token's rows before the operators by row at the end; how many of these there are.

    Matches rows -> Reshape (B, tokens, width) -> Slice of one token -> Squeeze (B, width).
    """
    for squeeze in graph.nodes:
        token = squeeze.op_type == "Squeeze" and graph.maker(squeeze.input[0], "Slice")
        reshape = token and graph.maker(token.input[0], "Reshape")
        if reshape and _is_one_token(graph, reshape, token):
            return _move(graph, reshape, token, squeeze)
    return 0


def _is_one_token(graph: Graph, reshape: Any, token: Any) -> bool:
    """Whether the one use of (B, tokens, width) is a Slice of one place of its middle axis."""
    shape = graph.constants.get(reshape.input[1], np.empty(0))
    begin, end, axis = (graph.scalar(name) for name in token.input[1:4])
    one = begin is not None and end == begin + 1 and axis == 1
    return one and shape.size == 3 and shape[0] == -1 and graph.users(reshape.output[0]) == [token]


def _move(graph: Graph, reshape: Any, token: Any, squeeze: Any) -> int:
    moved, widths = _nodes_by_row(graph, reshape)
    if not moved or graph.users(token.output[0]) != [squeeze]:
        return 0
    tokens = int(graph.constants[reshape.input[1]][1])
    whole = widths.keys() - {node.output[0] for node in moved}  # others need all rows of these
    taken = set[str]()
    nodes: list[Any] = []
    for node in graph.nodes:
        if node in (reshape, token, squeeze):
            continue
        if node in moved:
            for name in sorted(whole & set(node.input) - taken):
                nodes += _taken(graph, name, (-1, tokens, widths[name]), token, squeeze)
                taken.add(name)
            node.input[:] = [f"{name}_token" if name in whole else name for name in node.input]
        else:
            node.input[:] = [reshape.input[0] if name == squeeze.output[0] else name for name in node.input]
        nodes.append(node)
    graph.replace(nodes)
    return len(moved)


def _nodes_by_row(graph: Graph, reshape: Any) -> tuple[list[Any], dict[str, int]]:
    """The nodes whose rows nobody but `reshape` and these nodes needs, and the widths of all values by row."""
    moved: list[Any] = []
    widths = {reshape.input[0]: int(graph.constants[reshape.input[1]][2])}
    for node in reversed(graph.nodes[: graph.nodes.index(reshape)]):
        name = node.output[0]
        if name not in widths or node.op_type not in BY_ROW or not _is_by_row(graph, node):
            continue
        if all(user is reshape or user in moved for user in graph.users(name)):
            moved.append(node)
            size = graph.constants[node.input[1]].shape[1] if node.op_type == "Gemm" else widths[name]
            widths.update((one, size) for one in node.input if one not in graph.constants)
    return moved, widths


def _is_by_row(graph: Graph, node: Any) -> bool:
    """Whether a Gemm multiplies rows by a constant (out, in), and what others add to rows is one row, or rows."""
    if node.op_type == "Gemm":
        return (
            node.input[1] in graph.constants
            and attribute(node, "transB") == 1
            and not attribute(node, "transA")
        )
    constants = [graph.constants[name] for name in node.input if name in graph.constants]
    return all(array.ndim < 2 for array in constants)


def _taken(graph: Graph, name: str, shape: tuple[int, int, int], token: Any, squeeze: Any) -> list[Any]:
    """Nodes that take the token's rows of a value: as those at the end did."""
    from onnx import helper

    graph.constants[f"{name}_shape"] = np.array(shape, np.int64)
    node = helper.make_node
    return [
        node("Reshape", [name, f"{name}_shape"], [f"{name}_tokens"]),
        node("Slice", [f"{name}_tokens", *token.input[1:]], [f"{name}_sliced"]),
        node("Squeeze", [f"{name}_sliced", *squeeze.input[1:]], [f"{name}_token"]),
    ]
