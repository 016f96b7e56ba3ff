"""Exported nets run by the libraries they are for, and ours beside them.

Axes: N images, C colours, H W pixels, K classes, h w map positions.
"""

import numpy as np
import pytest
import torch

import vgg_sweep
from tests.tiny import IMPORTED, with_batch_norm
from vgg_sweep.config.options import load_option
from vgg_sweep.config.schema import Model

CLOSE = {"rtol": 1e-5, "atol": 1e-5}

SIZES = [(2, 64, 64), (1, 97, 150)]
"""N H W: crops, and one larger image with odd sides."""


def pixels(num_images: int, height: int, width: int) -> np.ndarray:
    shape = (num_images, 3, height, width)
    return np.random.default_rng(height).integers(0, 256, shape, np.uint8)


def ours(folder, pixels_NCHW):
    """posteriors_NK, scores_NKhw and the input, by the package's own net and the formula of the preprocessing."""
    loaded = vgg_sweep.load(folder.path)
    own = loaded.preprocessing
    images_NCHW = pixels_NCHW / 255 * own.pixel_max - np.array(own.mean)[:, None, None]
    images_NCHW = torch.from_numpy(images_NCHW.astype(np.float32))
    with torch.no_grad():
        scores_NKhw = loaded.net(images_NCHW)
    return scores_NKhw.mean((2, 3)).softmax(1).numpy(), scores_NKhw.numpy(), images_NCHW


def imported(file, **settings):
    from tests.exchange.test_importing import imported

    return imported(file, **settings)


def run_onnx(file, pixels_NCHW):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(file)
    return session.run(["posteriors", "scores"], {"pixels": pixels_NCHW.astype(np.float32)})


def run_keras(file, pixels_NCHW):
    keras = pytest.importorskip("keras")
    outputs = keras.models.load_model(file)(pixels_NCHW.transpose(0, 2, 3, 1).astype(np.float32))
    posteriors_NK, scores_NhwK = (np.array(output.detach().tolist(), np.float32) for output in outputs)
    return posteriors_NK, scores_NhwK.transpose(0, 3, 1, 2)


def run_pt2(file, pixels_NCHW):
    with torch.no_grad():
        return [each.numpy() for each in torch.export.load(file).module()(torch.from_numpy(pixels_NCHW).float())]


PROJECTED = Model("A-BN-1x1", [word.replace("skip", "skip-1x1") for word in load_option("model", "A-BN-skip").columns])

NETS = {
    "D": ("D", {}),
    "A-LRN, ceil": ("A-LRN", {"pool_ceil": True}),
    "C": ("C", {}),
    "A with BN, imported": (with_batch_norm("A"), IMPORTED),
    "D-BN": ("D-BN", {}),
    "A-skip": ("A-skip", {}),
    "A-BN with 1x1 shortcuts": (PROJECTED, {}),
}

SLOW = {"keras": ["A-LRN, ceil", "A with BN, imported"], "pt2": ["A-LRN, ceil"]}

PROGRAMS = {"onnx": run_onnx, "keras": run_keras, "pt2": run_pt2}
