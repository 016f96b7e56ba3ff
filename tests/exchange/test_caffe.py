"""A .caffemodel written with Caffe's own message format: the old and the new kind of layer, whole and damaged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tests.exchange.test_importing import PIXELS_NCHW, assert_same, imported, in_a_folder_of_its_own, oxfords, scores_of  # noqa: F401
from tests.foreign import torchvision_net
from vgg_sweep.errors import RunError
from vgg_sweep.exchange.readers.files import read_weights

PROTO = {
    "BlobShape": [("dim", 1, "repeated INT64 packed")],
    "BlobProto": [
        ("num", 1, "optional INT32"),
        ("channels", 2, "optional INT32"),
        ("height", 3, "optional INT32"),
        ("width", 4, "optional INT32"),
        ("data", 5, "repeated FLOAT packed"),
        ("diff", 6, "repeated FLOAT packed"),
        ("shape", 7, "optional BlobShape"),
    ],
    "V1LayerParameter": [
        ("bottom", 2, "repeated STRING"),
        ("top", 3, "repeated STRING"),
        ("name", 4, "optional STRING"),
        ("type", 5, "optional INT32"),
        ("blobs", 6, "repeated BlobProto"),
        ("blobs_lr", 7, "repeated FLOAT"),
    ],
    "LayerParameter": [
        ("name", 1, "optional STRING"),
        ("type", 2, "optional STRING"),
        ("bottom", 3, "repeated STRING"),
        ("blobs", 7, "repeated BlobProto"),
    ],
    "NetParameter": [
        ("name", 1, "optional STRING"),
        ("layers", 2, "repeated V1LayerParameter"),
        ("input", 3, "repeated STRING"),
        ("layer", 100, "repeated LayerParameter"),
    ],
}
"""What the tests write, as caffe.proto declares it."""


def messages() -> dict[str, Any]:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    for message, fields in PROTO.items():
        descriptor = file.message_type.add(name=message)
        for name, number, kind in fields:
            label, type_name, *packed = kind.split()
            added = descriptor.field.add(name=name, number=number, label=getattr(field, f"LABEL_{label.upper()}"))
            if type_name in PROTO:
                added.type, added.type_name = field.TYPE_MESSAGE, f".caffe.{type_name}"
            else:
                added.type = getattr(field, f"TYPE_{type_name}")
            added.options.packed = bool(packed)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}")) for name in PROTO}


def caffemodel(tensors: dict[str, torch.Tensor], *, old: bool) -> bytes:
    """The layers with these weights and, between them, layers without."""
    net = messages()["NetParameter"](name="VGG_ILSVRC_16_layers")
    for name in dict.fromkeys(key.partition(".")[0] for key in tensors):
        layer = (net.layers if old else net.layer).add(name=name)
        layer.type = (14 if name.startswith("fc") else 4) if old else "Convolution"
        for key in ("weight", "bias"):
            array = tensors[f"{name}.{key}"].numpy()
            blob = layer.blobs.add(data=array.ravel(), diff=np.zeros(3))
            if old:
                shape = [1] * (4 - array.ndim) + list(array.shape)
                blob.num, blob.channels, blob.height, blob.width = shape
            else:
                blob.shape.dim.extend(array.shape)
        (net.layers if old else net.layer).add(name=f"relu_{name}")
    return net.SerializeToString()


@pytest.mark.parametrize("old", [True, False], ids=["V1LayerParameter", "LayerParameter"])
def test_a_caffemodel_is_the_state_dict_it_was_written_from(old: bool) -> None:
    tensors = oxfords(torchvision_net("D"))
    Path("D.caffemodel").write_bytes(caffemodel(tensors, old=old))
    read = read_weights(Path("D.caffemodel"), mirrored=None).tensors
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


def test_it_gives_the_scores_of_the_net_fed_with_bgr_from_0_to_255() -> None:
    net = torchvision_net("D")
    Path("D.caffemodel").write_bytes(caffemodel(oxfords(net), old=True))
    folder = imported("D.caffemodel")
    pixels_NCHW = PIXELS_NCHW.flip(1).float() - torch.tensor([103.939, 116.779, 123.68])[:, None, None]
    with torch.inference_mode():
        assert_same(scores_of(folder), net(pixels_NCHW))
    assert folder.record()["imported"]["source"] == "caffe" and folder.record()["imported"]["pool_ceil"]


def test_cut_short_or_damaged_it_is_refused() -> None:
    whole = caffemodel(oxfords(torchvision_net("D")), old=True)
    Path("D.caffemodel").write_bytes(whole[:-5000])
    with pytest.raises(RunError, match="D.caffemodel is not .*truncated: download it again"):
        read_weights(Path("D.caffemodel"), mirrored=None)
    net = messages()["NetParameter"].FromString(whole)
    del net.layers[0].blobs[0].data[-1]
    Path("D.caffemodel").write_bytes(net.SerializeToString())
    with pytest.raises(RunError, match=r"conv1_1 has 107 numbers for a weight of \[4, 3, 3, 3\]"):
        read_weights(Path("D.caffemodel"), mirrored=None)
