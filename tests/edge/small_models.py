"""Model folders made on the spot, small enough to know their answers by heart.

`caps`: a classifier whose probability of `bad` is the picture's mean brightness (1 for white).
`drift`: an anomaly model whose score is the mean of the window.
`fused`: a classifier of a picture and two tags: `bad` is the mean of its brightness and of the tags' mean.
"""

import hashlib
import io
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

SHAPE = (8, 8, 3)
LABELS = ("ok", "bad")
WARM = (1, 2, 4)
LENGTH, TAGS = 4, ("Line.Speed", "Motor.Temperature")


def _model(nodes, inputs, outputs, constants) -> bytes:
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "small", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def classifier(*, inverted: bool = False, not_a_number: bool = False, shape=SHAPE) -> bytes:
    """Brightness as a probability; `inverted` calls dark pictures bad; `not_a_number` divides by zero for black."""
    order = ["bright", "dark"] if inverted else ["dark", "bright"]
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "one_axis"], ["column"]),
        helper.make_node("Div", ["column", "white"], ["share"]),
        helper.make_node("Div", ["share", "share"], ["unit"]),
        helper.make_node("Mul", ["share", "unit"], ["risky"]),
        helper.make_node("Identity", ["risky" if not_a_number else "share"], ["bright"]),
        helper.make_node("Sub", ["one", "bright"], ["dark"]),
        helper.make_node("Concat", order, ["probabilities"], axis=1),
    ]
    return _model(
        nodes,
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", *shape])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2])],
        {
            "one_axis": np.array([1], dtype=np.int64),
            "white": np.array([255.0], dtype=np.float32),
            "one": np.array([1.0], dtype=np.float32),
        },
    )


def fused(shape=SHAPE) -> bytes:
    """Two inputs, which share the batch axis."""
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Div", ["mean", "white"], ["share"]),
        helper.make_node("ReduceMean", ["tags"], ["level"], axes=[1], keepdims=0),
        helper.make_node("Add", ["share", "level"], ["sum"]),
        helper.make_node("Div", ["sum", "two"], ["flat"]),
        helper.make_node("Unsqueeze", ["flat", "one_axis"], ["bright"]),
        helper.make_node("Sub", ["one", "bright"], ["dark"]),
        helper.make_node("Concat", ["dark", "bright"], ["probabilities"], axis=1),
    ]
    return _model(
        nodes,
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", *shape]),
            helper.make_tensor_value_info("tags", TensorProto.FLOAT, ["N", len(TAGS)]),
        ],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2])],
        {
            "one_axis": np.array([1], dtype=np.int64),
            "white": np.array([255.0], dtype=np.float32),
            "two": np.array([2.0], dtype=np.float32),
            "one": np.array([1.0], dtype=np.float32),
        },
    )


def convnet(shape=(64, 64, 3)) -> bytes:
    """Four convolutions as an inspection model has them; with drawn weights only its time means something."""
    draw = np.random.default_rng(0)
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["y0"], perm=[0, 3, 1, 2]),
    ]
    weights, wide = {}, shape[-1]
    for index, (out, stride) in enumerate([(16, 2), (32, 1), (48, 2), (80, 2)]):
        weights[f"w{index}"] = (draw.normal(size=(out, wide, 3, 3)) * 0.05).astype(np.float32)
        nodes += [
            helper.make_node("Conv", [f"y{index}", f"w{index}"], [f"c{index}"], strides=[stride] * 2, pads=[1] * 4),
            helper.make_node("Relu", [f"c{index}"], [f"y{index + 1}"]),
        ]
        wide = out
    weights["head"] = (draw.normal(size=(wide, 2)) * 0.05).astype(np.float32)
    nodes += [
        helper.make_node("GlobalAveragePool", ["y4"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    return _model(
        nodes,
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", *shape])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2])],
        weights,
    )


def anomaly(length: int = LENGTH, tags: int = len(TAGS)) -> bytes:
    """The mean of a window."""
    return _model(
        [helper.make_node("ReduceMean", ["window"], ["score"], axes=[1, 2], keepdims=0)],
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", length, tags])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"])],
        {},
    )


def write_classifier(
    models: Path, name: str = "caps", version: str = "1", shape=SHAPE, deep: bool = False, warm=WARM, **how: bool
) -> Path:
    """Write a classifier's folder; its golden vectors are what ONNX Runtime says."""
    image = np.linspace(40, 250, int(np.prod(shape)) * 2).astype(np.uint8).reshape(2, *shape)
    channels = "".join(f'{{ name = "{c}", unit = "1", low = 0.0, high = 255.0 }}, ' for c in "rgb"[: shape[-1]])
    tensors = f"""
[[inputs]]
name = "image"
dtype = "uint8"
shape = ["N", {", ".join(map(str, shape))}]
channels = [{channels}]

[[outputs]]
name = "probabilities"
dtype = "float32"
shape = ["N", 2]
labels = ["ok", "bad"]
"""
    model = convnet(shape) if deep else classifier(shape=shape, **how)
    return _write(models, name, version, "classifier", model, {"image": image}, tensors, warm)


def detector(shape, cell: int = 8) -> bytes:
    """A candidate for each cell of the picture, as bright as it is: boxes [N, K, 4] and scores [N, K]."""
    high, wide = shape[:2]
    rows, columns = high // cell, wide // cell
    corners = [(x * cell, y * cell, (x + 1) * cell, (y + 1) * cell) for y in range(rows) for x in range(columns)]
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["cells"], kernel_shape=[cell, cell], strides=[cell, cell]),
        helper.make_node("ReduceMean", ["cells"], ["grey"], axes=[1], keepdims=0),
        helper.make_node("Reshape", ["grey", "flat"], ["levels"]),
        helper.make_node("Div", ["levels", "white"], ["scores"]),
        helper.make_node("Unsqueeze", ["scores", "last"], ["column"]),
        helper.make_node("Mul", ["column", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "corners"], ["boxes"]),
    ]
    return _model(
        nodes,
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", *shape])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", rows * columns, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", rows * columns]),
        ],
        {
            "flat": np.array([-1, rows * columns], dtype=np.int64),
            "last": np.array([2], dtype=np.int64),
            "white": np.array([255.0], dtype=np.float32),
            "zero": np.array([0.0], dtype=np.float32),
            "corners": np.array([corners], dtype=np.float32),
        },
    )


def write_detector(models: Path, name: str = "finder", version: str = "1", shape=(24, 40, 3)) -> Path:
    """Write a detector's folder."""
    image = np.linspace(0, 255, int(np.prod(shape))).astype(np.uint8).reshape(1, *shape)
    count = (shape[0] // 8) * (shape[1] // 8)
    channels = "".join(f'{{ name = "{c}", unit = "1", low = 0.0, high = 255.0 }}, ' for c in "rgb")
    tensors = f"""
[[inputs]]
name = "image"
dtype = "uint8"
shape = ["N", {", ".join(map(str, shape))}]
channels = [{channels}]

[[outputs]]
name = "boxes"
dtype = "float32"
shape = ["N", {count}, 4]

[[outputs]]
name = "scores"
dtype = "float32"
shape = ["N", {count}]
"""
    return _write(models, name, version, "detector", detector(shape), {"image": image}, tensors)


def write_fused(models: Path, name: str = "fused", version: str = "1") -> Path:
    """Write the folder of a classifier with two inputs."""
    image = np.linspace(40, 250, int(np.prod(SHAPE)) * 2).astype(np.uint8).reshape(2, *SHAPE)
    tags = np.linspace(0, 1, 2 * len(TAGS)).astype(np.float32).reshape(2, len(TAGS))
    tables = "".join(
        f"""
[[inputs]]
name = "{tensor}"
dtype = "{dtype}"
shape = {axes}
channels = [{", ".join(f'{{ name = "{c}", unit = "1", low = 0.0, high = 255.0 }}' for c in channels)}]
"""
        for tensor, dtype, axes, channels in (
            ("image", "uint8", f'["N", {", ".join(map(str, SHAPE))}]', "rgb"),
            ("tags", "float32", f'["N", {len(TAGS)}]', TAGS),
        )
    )
    tensors = f"""{tables}
[[outputs]]
name = "probabilities"
dtype = "float32"
shape = ["N", 2]
labels = ["ok", "bad"]
"""
    return _write(models, name, version, "classifier", fused(), {"image": image, "tags": tags}, tensors)


def write_anomaly(
    models: Path, name: str = "drift", version: str = "1", length: int = LENGTH, sample_s: float = 0
) -> Path:
    """Write an anomaly model's folder."""
    window = np.linspace(0, 1, length * len(TAGS)).astype(np.float32).reshape(1, length, len(TAGS))
    channels = "".join(f'{{ name = "{tag}", unit = "1", low = 0.0, high = 100.0 }}, ' for tag in TAGS)
    tensors = f"""
[[inputs]]
name = "window"
dtype = "float32"
shape = ["N", {length}, {len(TAGS)}]
channels = [{channels}]
{f"sample_s = {sample_s}" if sample_s else ""}

[[outputs]]
name = "score"
dtype = "float32"
shape = ["N"]
alarm_at = 1.0
"""
    return _write(models, name, version, "anomaly", anomaly(length), {"window": window}, tensors)


def _write(models: Path, name: str, version: str, kind: str, model: bytes, inputs, tensors: str, warm=WARM) -> Path:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    answers = dict(zip(names, session.run(names, inputs), strict=True))
    held = io.BytesIO()
    np.savez(held, **{f"in_{k}": v for k, v in inputs.items()}, **{f"out_{k}": v for k, v in answers.items()})
    folder = models / name / version
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model)
    (folder / "golden.npz").write_bytes(held.getvalue())
    (folder / "model.toml").write_text(
        f"""name = "{name}"
version = "{version}"
kind = "{kind}"
summary = "made by a test"
sha256 = "{hashlib.sha256(model).hexdigest()}"
warm_batches = {list(warm)}
{tensors}
[measured]
on = "nothing"
figures = {{}}

[timing]
machine = "none"
runs = 1
p50_ms = 0.1
p99_ms = 0.1
worst_ms = 0.1

[golden]
sha256 = "{hashlib.sha256(held.getvalue()).hexdigest()}"
tolerance = 0.001
"""
    )
    return folder


def seal(folder: Path) -> Path:
    """Write the digest of a changed model.onnx into its contract, as if it had been made so."""
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    lines = (folder / "model.toml").read_text().splitlines()
    done = [
        "sha256 = " + f'"{digest}"' if line.startswith("sha256") and i < 6 else line for i, line in enumerate(lines)
    ]
    (folder / "model.toml").write_text("\n".join(done))
    return folder
