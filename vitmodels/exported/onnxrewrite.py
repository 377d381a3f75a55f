"""MindSpore's ONNX file as runtimes like it: any batch, one node for each LayerNorm and GELU, and nothing in vain.

MindSpore writes opset 11 with a fixed batch, LayerNorm as eleven nodes and GELU as a polynomial of twelve. The
rewritten file is opset 20, and computes the end of the net for the class token alone (`onnxclasstoken`). What is not recognised stays as it was; the batch must become open, or it is an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vitmodels.errors import ExportError
from vitmodels.exported.onnxclasstoken import class_token_early
from vitmodels.exported.onnxgraph import Graph, attribute
from vitmodels.nets.layers.gelu import COEFFICIENTS

OPSET = 20  # the first with Gelu
IR_VERSION = 9  # that of opset 20, so that runtimes of its time read it
BATCH = "batch"
MOVED = {"Split": "split", "Squeeze": "axes", "ReduceMean": "axes", "ReduceSumSquare": "axes"}


def rewrite_file(path: Path) -> None:
    """Rewrite an ONNX file that MindSpore wrote, in place. Raises ExportError."""
    import onnx

    model = rewritten(onnx.load(path))
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the rewritten ONNX graph is not valid: {str(error).splitlines()[0]}") from error
    onnx.save(model, path)


def rewritten(model: Any) -> Any:
    """The model with an open batch, opset 20 and fused nodes. Raises ExportError when a batch size remains."""
    graph = Graph(model)
    for change in (pad_class_token, layer_normalization, gelu, attribute_to_input):
        graph.rewrite(change)
    graph.fold()
    graph.drop_unused()
    class_token_early(graph)
    bias_before_gelu(graph)
    for node in graph.nodes:
        if node.op_type == "Concat" and any(name in graph.constants for name in node.input):
            raise ExportError(f"the ONNX node {node.output[0]} joins images and a constant of a fixed batch")
    opened = graph.finished()
    for value in (opened.graph.input[0], opened.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    del opened.graph.value_info[:]
    opened.opset_import[0].version = OPSET
    opened.ir_version = IR_VERSION
    return opened


def pad_class_token(graph: Graph, node: Any) -> Any:
    """Zeros of the batch's size before the tokens: Pad knows the size from the tokens."""
    from onnx import helper

    if node.op_type != "Concat" or attribute(node, "axis") != 1 or len(node.input) != 2:
        return None
    zeros, tokens = graph.constants.get(node.input[0]), node.input[1]
    if zeros is None or zeros.ndim != 3 or zeros.any() or tokens in graph.constants:
        return None
    pads = f"{node.output[0]}_pads"
    graph.constants[pads] = np.array([0, zeros.shape[1], 0, 0, 0, 0], np.int64)
    return helper.make_node("Pad", [tokens, pads], list(node.output), name=node.name)


def layer_normalization(graph: Graph, node: Any) -> Any:
    """(x - mean) / sqrt(sum of squares / n + epsilon) * weight + bias, matched from its end."""
    from onnx import helper

    for scaled, bias in graph.inputs(node.output[0], "Add"):
        for normal, weight in graph.inputs(scaled, "Mul"):
            found = _normalised(graph, normal)
            if found and all(
                graph.constants.get(name, np.empty(0)).shape == (found[2],) for name in (weight, bias)
            ):
                x, epsilon, _ = found
                inputs = [x, weight, bias]
                return helper.make_node(
                    "LayerNormalization", inputs, list(node.output), name=node.name, axis=-1, epsilon=epsilon
                )
    return None


def _normalised(graph: Graph, name: str) -> tuple[str, float, int] | None:
    """The values x, epsilon and n of (x - mean) / sqrt(sum of squares / n + epsilon)."""
    quotient = graph.maker(name, "Div")
    root = quotient and graph.maker(quotient.input[1], "Sqrt")
    difference = quotient and graph.maker(quotient.input[0], "Sub")
    if not root or not difference:
        return None
    x, mean = difference.input
    average = graph.maker(mean, "ReduceMean")
    for variance, constant in graph.inputs(root.input[0], "Add"):
        epsilon, share = graph.scalar(constant), graph.maker(variance, "Div")
        squares = share and graph.maker(share.input[0], "ReduceSumSquare")
        size = share and graph.scalar(share.input[1])
        if epsilon is None or not size or not squares or not average:
            continue
        if squares.input[0] == difference.output[0] and average.input[0] == x:
            return x, epsilon, int(size)
    return None


def gelu(graph: Graph, node: Any) -> Any:
    """x * sigmoid(x * P(x * x)) with the coefficients of PolynomialGelu, matched from its end."""
    from onnx import helper

    for x, share in graph.inputs(node.output[0], "Mul"):
        sigmoid = graph.maker(share, "Sigmoid")
        if sigmoid is None:
            continue
        for same, polynomial in graph.inputs(sigmoid.input[0], "Mul"):
            if same == x and _is_polynomial(graph, polynomial, x):
                return helper.make_node("Gelu", [x], list(node.output), name=node.name)
    return None


def _is_polynomial(graph: Graph, name: str, x: str) -> bool:
    """Whether the value is ((((C4 y + C3) y + C2) y + C1) y + C0) with y = x * x."""
    for coefficient in COEFFICIENTS[:-1]:
        rest = [
            one for one, other in graph.inputs(name, "Add") if _is_close(graph.scalar(other), coefficient)
        ]
        factors = (
            [one for one, other in graph.inputs(rest[0], "Mul") if _is_square(graph, other, x)]
            if rest
            else []
        )
        if not factors:
            return False
        name = factors[0]
    return _is_close(graph.scalar(name), COEFFICIENTS[-1])


def _is_square(graph: Graph, name: str, x: str) -> bool:
    node = graph.maker(name, "Mul")
    return node is not None and list(node.input) == [x, x]


def _is_close(found: float | None, wanted: float) -> bool:
    return found is not None and bool(np.isclose(found, wanted, rtol=1e-6, atol=0))


def bias_before_gelu(graph: Graph) -> None:
    """Gemm with a bias -> Gelu becomes Gemm -> Add -> Gelu: ONNX Runtime computes the last two in one pass over memory."""
    from onnx import helper

    nodes = []
    for node in graph.nodes:
        users = graph.users(node.output[0]) if node.op_type == "Gemm" and len(node.input) == 3 else []
        if [user.op_type for user in users] != ["Gelu"]:
            nodes.append(node)
            continue
        bias, product = node.input.pop(), f"{node.output[0]}_product"
        nodes += [node, helper.make_node("Add", [product, bias], list(node.output))]
        node.output[0] = product
    graph.replace(nodes)


def attribute_to_input(graph: Graph, node: Any) -> Any:
    """What opset 11 has as an attribute and later ones as an input: sizes of Split, axes of others."""
    from onnx import helper

    moved = MOVED.get(node.op_type, "")
    values = attribute(node, moved)
    if values is None:
        return None
    name = f"{node.output[0]}_{moved}"
    graph.constants[name] = np.array(values, np.int64)
    other = helper.make_node(node.op_type, [node.input[0], name], list(node.output), name=node.name)
    other.attribute.extend(one for one in node.attribute if one.name != moved)
    return other
