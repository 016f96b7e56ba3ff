"""A small net on any device, and how far a type may lie from fp32 on a CPU."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tests.gpu.conftest import DEVICE
from tests.tiny import RECIPE, tiny_config
from vgg_sweep.config.schema import Config
from vgg_sweep.images.sets.statistics import Statistics
from vgg_sweep.images.views.loader import Batch
from vgg_sweep.machine.hardware import Hardware, choose_hardware
from vgg_sweep.nets.initial import draw_weights
from vgg_sweep.nets.vgg import VGG, build_net
from vgg_sweep.train.step import Learner

FIGURES = Statistics([0.4, 0.5, 0.6], [0.1, 0.02, 0.01], torch.eye(3).tolist())
CLASSES = 3
TYPES = {"fp32": 24, "tf32": 11, "bf16": 8, "fp16": 11}
"""Bits of a product's factors: a result is off by some units of 2 ** -bits."""
LAYOUTS = {"channels-last": torch.channels_last, "nchw": torch.contiguous_format}
TYPES_HERE = ["fp32", "bf16"] if DEVICE == "cpu" else list(TYPES)
LAYOUTS_HERE = ["channels-last"] if DEVICE == "cpu" else list(LAYOUTS)
"""On a CPU, where other tests try them all, a few."""


def config(tmp_path: Path, device: torch.device | str, kind: str = "fp32", **settings: object) -> Config:
    """`kind` is a key of `TYPES`."""
    precision = "fp32" if kind == "tf32" else kind
    recipe = replace(RECIPE, batch_size=8)
    given = {"device": str(device), "precision": precision, "tf32": kind == "tf32", "layout": "nchw", "recipe": recipe}
    return tiny_config(tmp_path, **(given | settings))  # type: ignore[arg-type]


def net_on(hardware: Hardware, of: Config) -> VGG:
    """With the same weights on every device."""
    net = build_net(of, CLASSES)
    draw_weights(net, "he", torch.Generator().manual_seed(0))
    net.to(hardware.device, memory_format=LAYOUTS[of.layout])  # type: ignore[call-overload]
    return net


def learner(of: Config, notes: list[str] | None = None) -> Learner:
    hardware = choose_hardware(of)
    hardware.expect_shapes(alike=True)
    made = Learner(net_on(hardware, of), of, FIGURES, hardware, note=(notes if notes is not None else []).append)
    if hardware.precision == "fp16":  # no overflow, so that no step is left out
        made.scaler = torch.amp.GradScaler(hardware.device.type, init_scale=256.0)
    made.set_learning_rate(0.02)
    made.net.train()
    return made


def batch(num_images: int = 8, crop: int = 32, *, pinned: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images_NCHW = torch.randint(0, 256, (num_images, 3, crop, crop), generator=generator, dtype=torch.uint8)
    labels_N = torch.randint(0, CLASSES, (num_images,), generator=generator)
    if pinned:
        images_NCHW, labels_N = images_NCHW.pin_memory(), labels_N.pin_memory()
    alpha_NC = torch.randn(num_images, 3, generator=generator)
    return Batch(images_NCHW, labels_N, alpha_NC, range(num_images), num_images, num_images, mean_S_px=37)


def losses(of: Learner, num_steps: int, batch: Batch) -> list[float]:
    return [of.step(batch, step)[0] for step in range(num_steps)]


def weights(of: Learner) -> np.ndarray:
    return torch.cat([parameter.detach().flatten().cpu() for parameter in of.net.parameters()]).numpy()
