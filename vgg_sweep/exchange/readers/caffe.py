"""Caffe's .caffemodel: a Protocol Buffers message, NetParameter.

The fields are those of caffe.proto (BVLC/caffe, src/caffe/proto), as far as weights need them. `layers` is what Caffe
wrote until 2014, when the paper's nets were released, `layer` what it has written since. Packed floats look the same
as bytes in a message, so that numpy can take them as they are.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vgg_sweep.errors import ConfigError, RunError

try:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    from google.protobuf.message import DecodeError
except ImportError as error:
    raise ConfigError("a .caffemodel needs protobuf; pip install 'vgg-sweep[caffe]'.") from error

_FIELDS = {
    "BlobShape": [("dim", 1, "INT64")],
    "BlobProto": [("num", 1, "INT32"), ("channels", 2, "INT32"), ("height", 3, "INT32"), ("width", 4, "INT32"),
                  ("data", 5, "BYTES"), ("shape", 7, "BlobShape"), ("double_data", 8, "BYTES")],
    "V1LayerParameter": [("name", 4, "STRING"), ("blobs", 6, "BlobProto")],
    "LayerParameter": [("name", 1, "STRING"), ("blobs", 7, "BlobProto")],
    "NetParameter": [("layers", 2, "V1LayerParameter"), ("layer", 100, "LayerParameter")],
}  # fmt: skip
"""Message -> (name, number, type) of its fields; all are read as repeated."""

_NOT_ONE = (
    "{} is not a safetensors file, a pickled state dict, a Keras .h5 or a complete .caffemodel; it may be truncated: "
    "download it again."
)


def read_caffemodel(path: Path) -> dict[str, Tensor]:
    """The weights of each layer of `path`, conv1_1.weight and so on, in float32. The first layer takes B, G, R.

    Caffe's kernels and its order of flattening are PyTorch's. Raises `RunError` for what is no whole .caffemodel.
    """
    net = _NetParameter()
    try:
        net.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise RunError(_NOT_ONE.format(path)) from error
    tensors = {}
    for layer in [*net.layers, *net.layer]:
        for key, blob in zip(("weight", "bias", "blob 3", "blob 4"), layer.blobs, strict=False):
            tensors[f"{''.join(layer.name)}.{key}"] = _tensor(blob, f"{path}: {''.join(layer.name)}", key)
    if not tensors:
        raise RunError(_NOT_ONE.format(path))
    return tensors


def _tensor(blob: Any, layer_name: str, key: str) -> Tensor:
    """A bias has one axis, a conv weight four, an FC weight two: older files have leading axes of 1 in their stead."""
    old_shape = [side for axis in (blob.num, blob.channels, blob.height, blob.width) for side in axis]
    shape = [side for axis in blob.shape for side in axis.dim] or old_shape
    values = np.frombuffer(b"".join(blob.data), "<f4")
    if blob.double_data:
        values = np.frombuffer(b"".join(blob.double_data), "<f8").astype(np.float32)
    if values.size != np.prod(shape, dtype=np.int64):
        raise RunError(
            f"{layer_name} has {values.size} numbers for a {key} of {shape}; the file is damaged: download it again."
        )
    if key == "bias":
        shape = [values.size]
    elif len(shape) == 4 and shape[:2] == [1, 1]:
        shape = shape[2:]
    return torch.from_numpy(values.copy()).reshape(shape)


def _net_parameter() -> Any:
    """The class of the message NetParameter."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="vgg_sweep/caffe.proto", package="vgg_sweep", syntax="proto2")
    for message_name, fields in _FIELDS.items():
        message = file.message_type.add(name=message_name)
        for name, number, kind in fields:
            each = message.field.add(name=name, number=number, label=field.LABEL_REPEATED)
            if kind in _FIELDS:
                each.type, each.type_name = field.TYPE_MESSAGE, f".vgg_sweep.{kind}"
            else:
                each.type = getattr(field, f"TYPE_{kind}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("vgg_sweep.NetParameter"))


_NetParameter = _net_parameter()
