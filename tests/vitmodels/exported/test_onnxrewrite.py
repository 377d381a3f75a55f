"""MindSpore's ONNX files after the rewrite: fused nodes, any batch, the same answers in two runtimes."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.vitmodels.nets.golden_nets import TINY, make_net, read_golden
from vitmodels.errors import ExportError

pytestmark = pytest.mark.system

pytest.importorskip("mindspore")
onnx = pytest.importorskip("onnx")

from vitmodels.exported import onnxrewrite  # noqa: E402
from vitmodels.exported.engines import OpenVinoEngine  # noqa: E402
from vitmodels.exported.write import export_model  # noqa: E402
from vitmodels.nets.layers.gelu import COEFFICIENTS  # noqa: E402
from vitmodels.nets.weights import load_weights  # noqa: E402


@pytest.fixture(scope="module", params=["vit", "tnt"])
def net(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A tiny net with timm's weights: MindSpore's own ONNX graph, and the file that we write."""
    golden = read_golden(request.param)
    cell = make_net(request.param)
    load_weights(cell, golden.weights)
    folder = tmp_path_factory.mktemp("onnx")
    originals: list[Any] = []
    rewrite = onnxrewrite.rewritten

    def keep(model: Any) -> Any:
        originals.append(copy.deepcopy(model))
        return rewrite(model)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnxrewrite, "rewritten", keep)
        export_model(cell, request.param, folder, ("ONNX",))
    path = folder / f"{request.param}.onnx"
    return SimpleNamespace(
        family=request.param, golden=golden, path=path, model=onnx.load(path), original=originals[0]
    )


def run(model: Any, images: np.ndarray) -> np.ndarray:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: images})[0])


def test_layers_are_one_node_each_and_the_batch_is_open(net: SimpleNamespace) -> None:
    kinds = Counter(node.op_type for node in net.model.graph.node)
    depth = TINY[net.family].depth
    norms, gelus = (2 * depth + 1, depth) if net.family == "vit" else (6 * depth + 3, 2 * depth)
    assert (kinds["LayerNormalization"], kinds["Gelu"]) == (norms, gelus)
    assert not kinds.keys() & {"Concat", "Sigmoid", "ReduceMean", "Cast", "Identity", "Constant", "Gather"}
    assert (net.model.opset_import[0].version, len(net.model.opset_import)) == (20, 1)
    for value, rest in ((net.model.graph.input[0], [3, 32, 32]), (net.model.graph.output[0], [5])):
        dims = value.type.tensor_type.shape.dim
        assert dims[0].dim_param == "batch"
        assert [dim.dim_value for dim in dims[1:]] == rest
    onnx.checker.check_model(net.model, full_check=True)
    onnx.shape_inference.infer_shapes(net.model, strict_mode=True, data_prop=True)


def test_answers_are_those_of_the_file_before_and_of_timm(net: SimpleNamespace) -> None:
    before = run(net.original, net.golden.x[:1])
    assert np.abs(run(net.model, net.golden.x[:1]) - before).max() < 2e-5, "GELU is exact now"
    for batch in (1, 2, 5):
        images, wanted = (np.resize(a, (batch, *a.shape[1:])) for a in (net.golden.x, net.golden.y))
        assert np.abs(run(net.model, images) - wanted).max() < 1e-5


def test_what_runtimes_join_stands_together(net: SimpleNamespace) -> None:
    """A bias before each GELU (BiasGelu of ONNX Runtime), and the last MLP for the class token alone."""
    makers = {node.output[0]: node for node in net.model.graph.node}
    last = f"blocks.{TINY[net.family].depth - 1}.mlp.fc1"
    for node in net.model.graph.node:
        if node.op_type == "Gelu":
            add = makers[node.input[0]]
            product = makers[add.input[0]]
            assert (add.op_type, product.op_type, len(product.input)) == ("Add", "Gemm", 2)
    [product] = [node for node in net.model.graph.node if f"{last}.weight" in node.input]
    [norm] = [node for node in net.model.graph.node if product.input[0] in node.output]
    total = makers[norm.input[0]]
    taken = [makers[name].op_type for name in total.input]
    assert (norm.op_type, total.op_type, sorted(taken)) == ("LayerNormalization", "Add", ["Gemm", "Squeeze"])


def test_openvino_gives_the_same_answers(net: SimpleNamespace) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed: its reading of ONNX is NOT tested")
    engine = OpenVinoEngine(net.path, None)
    for batch in (1, 3):
        images, wanted = (np.resize(a, (batch, *a.shape[1:])) for a in (net.golden.x, net.golden.y))
        found = engine(images)
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() < 1e-4


def graph_of(nodes: list[Any], constants: dict[str, Any], shape: tuple[int, ...] = (2, 4)) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    arrays = [
        numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in constants.items()
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], arrays)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=4)


def polynomial(coefficients: tuple[float, ...]) -> Any:
    """x * sigmoid(x * P(x * x)) as MindSpore writes it."""
    from onnx import helper

    node = helper.make_node
    nodes = [node("Mul", ["x", "x"], ["square"]), node("Mul", ["square", "c4"], ["p4"])]
    for index in (3, 2, 1, 0):
        nodes.append(node("Add", [f"p{index + 1}", f"c{index}"], [f"s{index}"]))
        if index:
            nodes.append(node("Mul", [f"s{index}", "square"], [f"p{index}"]))
    nodes += [node("Mul", ["x", "s0"], ["z"]), node("Sigmoid", ["z"], ["q"]), node("Mul", ["x", "q"], ["y"])]
    return graph_of(nodes, {f"c{index}": value for index, value in enumerate(coefficients)})


def test_another_polynomial_is_no_gelu() -> None:
    images = np.linspace(-4, 4, 8, dtype=np.float32).reshape(2, 4)
    for index in range(5):
        other = tuple(value * (1.01 if place == index else 1) for place, value in enumerate(COEFFICIENTS))
        found = onnxrewrite.rewritten(polynomial(other))
        assert "Gelu" not in {node.op_type for node in found.graph.node}
        assert np.array_equal(run(found, images), run(polynomial(other), images))
    found = onnxrewrite.rewritten(polynomial(COEFFICIENTS))
    assert [node.op_type for node in found.graph.node] == ["Gelu"]
    assert np.abs(run(found, images) - run(polynomial(COEFFICIENTS), images)).max() < 4e-6


@pytest.mark.parametrize("size", [4.0, 3.0])
def test_a_sum_of_squares_over_another_size_is_no_layer_norm(size: float) -> None:
    from onnx import helper

    node = helper.make_node
    nodes = [
        node("ReduceMean", ["x"], ["mean"], axes=[1], keepdims=1),
        node("Sub", ["x", "mean"], ["centered"]),
        node("ReduceSumSquare", ["centered"], ["squares"], axes=[1], keepdims=1),
        node("Div", ["squares", "size"], ["variance"]),
        node("Add", ["variance", "epsilon"], ["more"]),
        node("Sqrt", ["more"], ["deviation"]),
        node("Div", ["centered", "deviation"], ["normal"]),
        node("Mul", ["normal", "weight"], ["scaled"]),
        node("Add", ["scaled", "bias"], ["y"]),
    ]
    constants = {"size": size, "epsilon": 1e-6, "weight": [1, 2, 3, 4], "bias": [0, 1, 0, 1]}
    images = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    wanted = run(graph_of(nodes, constants), images)
    found = onnxrewrite.rewritten(graph_of(nodes, constants))
    kinds = [one.op_type for one in found.graph.node]
    assert (kinds == ["LayerNormalization"]) == (size == 4.0)
    assert ("ReduceSumSquare" in kinds) == (size == 3.0)
    assert np.abs(run(found, images) - wanted).max() < 1e-5


def test_a_fixed_batch_that_stays_is_an_error() -> None:
    from onnx import helper

    nodes = [helper.make_node("Concat", ["ones", "x"], ["y"], axis=1)]
    with pytest.raises(ExportError, match="constant of a fixed batch"):
        onnxrewrite.rewritten(graph_of(nodes, {"ones": np.ones((2, 1, 3))}, (2, 2, 3)))


def test_a_graph_that_is_not_valid_is_not_written(tmp_path: Path) -> None:
    from onnx import helper

    path = tmp_path / "net.onnx"
    onnx.save(graph_of([helper.make_node("NoSuchOperator", ["x"], ["y"])], {}), path)
    before = path.read_bytes()
    with pytest.raises(ExportError, match="the rewritten ONNX graph is not valid"):
        onnxrewrite.rewrite_file(path)
    assert path.read_bytes() == before
