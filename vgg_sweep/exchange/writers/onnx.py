"""A net as an ONNX graph, which is Table 1 read from top to bottom: one node per layer, with the paper's names.

It is written node by node, as a net of a few kinds of layers needs no tracing. So it has native LRN, all three sizes
free, and readable names.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from vgg_sweep.exchange.tag import KEY, tag_text
from vgg_sweep.exchange.writers.program import PIXELS, POSTERIORS, SCORES, program
from vgg_sweep.nets.skip import Skip
from vgg_sweep.predict.trained import TrainedNet
from vgg_sweep.version import __version__

OPSET = 18
IR_VERSION = 10
"""Of ONNX 1.16, both: what onnxruntime and others have read since 2024."""


def save_onnx(loaded: TrainedNet, path: Path) -> None:
    """Write the net with its preprocessing, for any number of images of any size; the classes are in its metadata."""
    net = program(loaded)
    nodes = [
        helper.make_node("Mul", [PIXELS, "gain"], ["scaled"], "gain"),
        helper.make_node("Add", ["scaled", "offset"], ["input"], "offset"),
    ]
    tensors = {"gain": net.gain_C11, "offset": net.offset_C11}
    constants: list[TensorProto] = []
    outputs = ["input"]
    names = [name for name, _ in net.layers.named_children()]
    for name, layer in net.layers.named_children():
        own = {f"{name}.{key}": tensor for key, tensor in layer.state_dict().items() if tensor.dim() > 0}
        output = SCORES if name == names[-1] else name
        if isinstance(layer, Skip):
            of_skip, of_shapes = skip_nodes(layer, outputs[-1], outputs[layer.start], output, name)
            nodes, constants = nodes + of_skip, constants + of_shapes
        else:
            nodes.append(_node(layer, [outputs[-1], *own], output, name))
        tensors |= own
        outputs.append(output)
    nodes += [
        helper.make_node("ReduceMean", [SCORES, "positions"], ["mean_scores"], "mean_scores", keepdims=0),
        helper.make_node("Softmax", ["mean_scores"], [POSTERIORS], POSTERIORS, axis=1),
    ]
    num_classes = len(loaded.classes)
    graph = helper.make_graph(
        nodes,
        "VGG",
        [_float(PIXELS, ["N", 3, "H", "W"])],
        [_float(POSTERIORS, ["N", num_classes]), _float(SCORES, ["N", num_classes, "h", "w"])],
        [*(numpy_helper.from_array(tensor.detach().contiguous().numpy(), name) for name, tensor in tensors.items()),
         *constants, numpy_helper.from_array(np.array([2, 3], np.int64), "positions")],
    )  # fmt: skip
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="vgg-sweep",
        producer_version=__version__,
    )
    helper.set_model_props(model, {"classes": json.dumps(loaded.classes), KEY: tag_text(loaded, loaded.preprocessing)})
    onnx.checker.check_model(model)
    onnx.save_model(model, str(path))


def onnx_example(loaded: TrainedNet, file: str) -> list[str]:
    """See `exporting.Format`."""
    return [
        "import onnxruntime",
        "",
        f"session = onnxruntime.InferenceSession({file!r})",
        f'posteriors_NK, scores_NKhw = session.run(None, {{"{PIXELS}": pixels_NCHW.astype("float32")}})',
    ]


def _node(layer: nn.Module, inputs: list[str], output: str, name: str) -> onnx.NodeProto:
    match layer:
        case nn.Conv2d():
            assert isinstance(layer.padding, tuple)
            pads, strides = [*layer.padding, *layer.padding], list(layer.stride)
            return helper.make_node("Conv", inputs, [output], name, pads=pads, strides=strides)
        case nn.ReLU():
            return helper.make_node("Relu", inputs, [output], name)
        case nn.MaxPool2d():
            sides, ceil = [layer.kernel_size] * 2, int(layer.ceil_mode)
            return helper.make_node(
                "MaxPool", inputs, [output], name, kernel_shape=sides, strides=[layer.stride] * 2, ceil_mode=ceil
            )
        case nn.LocalResponseNorm():
            return helper.make_node(
                "LRN", inputs, [output], name, size=layer.size, alpha=layer.alpha, beta=layer.beta, bias=layer.k
            )
        case nn.AdaptiveAvgPool2d():
            return helper.make_node("GlobalAveragePool", inputs, [output], name)
        case nn.BatchNorm2d():
            return helper.make_node("BatchNormalization", inputs, [output], name, epsilon=layer.eps)
    raise AssertionError(layer)


def _float(name: str, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def skip_nodes(
    skip: Skip, block_output: str, block_input: str, output: str, name: str
) -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    """The nodes that make `output` of the block's output and input, and the constants they need; the tensors of a 1x1
    convolution are named as in the state dict of `skip`, behind `name`.
    """
    nodes: list[onnx.NodeProto] = []
    constants: list[TensorProto] = []
    above = block_input

    def add(kind: str, what: str, inputs: list[str], **attributes: Any) -> None:
        nonlocal above
        nodes.append(helper.make_node(kind, [above, *inputs], [f"{name}_{what}"], f"{name}_{what}", **attributes))
        above = f"{name}_{what}"

    def constant(what: str, values: list[int]) -> str:
        constants.append(numpy_helper.from_array(np.array(values, np.int64), f"{name}_{what}"))
        return f"{name}_{what}"

    if skip.projection is not None:
        for index, module in enumerate(skip.projection):
            own = [f"{name}.projection.{index}.{key}" for key, value in module.state_dict().items() if value.dim() > 0]
            if isinstance(module, nn.BatchNorm2d):
                add("BatchNormalization", "projection_bn", own, epsilon=module.eps)
            else:
                add("Conv", "projection", own, strides=[skip.stride] * 2)
    else:
        if skip.stride > 1:
            last = [np.iinfo(np.int64).max] * 2
            add("Slice", "every_second", [constant("starts", [0, 0]), constant("ends", last), constant("axes", [2, 3]),
                                          constant("steps", [skip.stride] * 2)])  # fmt: skip
        if skip.new_channels:
            add("Pad", "with_zeros", [constant("pads", [0, 0, 0, 0, 0, skip.new_channels, 0, 0])])
    nodes.append(helper.make_node("Add", [block_output, above], [output], name))
    return nodes, constants
