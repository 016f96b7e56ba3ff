"""A shortcut as nodes of ONNX: the block's input, brought to the shape of its output, and the sum."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from vgg_sweep.nets.skip import Skip


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
