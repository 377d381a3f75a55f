"""Rows of the class token alone, where nobody needs the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from vitmodels.exported.onnxclasstoken import class_token_early  # noqa: E402
from vitmodels.exported.onnxgraph import Graph  # noqa: E402

TOKENS, WIDTH, HIDDEN = 5, 4, 6


def end_of_net(
    *, place: int = 0, other_user: bool = False, full_constant: bool = False, two: bool = False
) -> Any:
    """x + mlp(norm(x)) for x = images + images @ w, and the token at `place` of it, plus `extra` for other shapes."""
    node, rng = helper.make_node, np.random.default_rng(0)
    nodes = [
        node("Gemm", ["images", "w"], ["p"], transB=1),
        node("Add", ["p", "rows" if full_constant else "b"], ["q"]),
        node("Add", ["images", "q"], ["x"]),
        node("LayerNormalization", ["x", "b", "b"], ["n"], axis=-1),
        node("Gemm", ["n", "w1", "b1"], ["h"], transB=1),
        node("Gelu", ["h"], ["g"]),
        node("Gemm", ["g", "w2", "b"], ["m"], transB=1),
        node("Add", ["x", "m"], ["y"]),
        node("Reshape", ["y", "shape"], ["tokens"]),
        node("Slice", ["tokens", "begin", "end", "axis"], ["token"]),
        node("Squeeze", ["token", "axis"], ["class"]) if not two else node("Neg", ["token"], ["class"]),
        node("Gemm", ["class", "w"], ["head"], transB=1) if not two else node("Neg", ["class"], ["head"]),
    ]
    if other_user:
        nodes += [node("ReduceSum", ["h"], ["sum"], keepdims=0), node("Add", ["head", "sum"], ["out"])]
    else:
        nodes.append(node("Neg", ["head"], ["out"]))
    arrays: dict[str, Any] = {
        "w": rng.standard_normal((WIDTH, WIDTH)),
        "w1": rng.standard_normal((HIDDEN, WIDTH)),
        "w2": rng.standard_normal((WIDTH, HIDDEN)),
        "b": rng.standard_normal(WIDTH),
        "b1": rng.standard_normal(HIDDEN),
        "rows": rng.standard_normal((2 * TOKENS, WIDTH)),
    }
    whole = {"shape": [-1, TOKENS, WIDTH], "begin": [place], "end": [place + 1 + two], "axis": [1]}
    constants = [numpy_helper.from_array(np.asarray(a, np.float32), name) for name, a in arrays.items()]
    constants += [numpy_helper.from_array(np.asarray(a, np.int64), name) for name, a in whole.items()]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [None, WIDTH])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "net", [images], [out], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def answers(model: Any) -> dict[str, Any]:
    """The output, and the number of rows that each Gemm multiplies."""
    images = np.random.default_rng(1).standard_normal((2 * TOKENS, WIDTH)).astype(np.float32)
    inner = [node.input[0] for node in model.graph.node if node.op_type == "Gemm"]
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in set(inner) - {"images"}
    )
    found = dict(
        zip(
            [one.name for one in probe.graph.output],
            ReferenceEvaluator(probe).run(None, {"images": images}),
            strict=True,
        )
    )
    return {"out": found["out"], "rows": [len(images if name == "images" else found[name]) for name in inner]}


def moved(model: Any) -> tuple[int, dict[str, Any], dict[str, Any]]:
    before = answers(model)
    graph = Graph(model)
    count = class_token_early(graph)
    return count, before, answers(graph.finished())


@pytest.mark.parametrize("place", [0, 2])
def test_the_end_is_computed_for_one_token(place: int) -> None:
    count, before, after = moved(end_of_net(place=place))
    assert count == 8, "all but what makes the images"
    assert (before["rows"], after["rows"]) == ([10, 10, 10, 2], [2, 2, 2, 2])
    assert np.allclose(after["out"], before["out"], atol=1e-6)


@pytest.mark.parametrize(
    ("changed", "count", "rows"),
    [
        (
            {"other_user": True},
            3,
            [10, 10, 2, 2],
        ),  # what another node needs in full, and all before it, stays
        ({"full_constant": True}, 6, [10, 2, 2, 2]),  # a constant with a row for each token of the batch
        ({"two": True}, 0, [10, 10, 10]),  # two tokens
    ],
)
def test_what_is_needed_in_full_stays(changed: dict[str, bool], count: int, rows: list[int]) -> None:
    found, before, after = moved(end_of_net(**changed))
    assert (found, after["rows"]) == (count, rows)
    assert np.allclose(after["out"], before["out"], atol=1e-5)
