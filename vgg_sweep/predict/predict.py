"""What a trained net says of images that nobody has labelled, under any of the paper's protocols.

Axes: N images, K classes, H W pixels, C colours, h w positions of the class score map.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.images.decode import BadImage
from vgg_sweep.images.files import EXTENSIONS, image_files
from vgg_sweep.images.views.crops import check_fits, rescaled
from vgg_sweep.machine.device import Device
from vgg_sweep.predict.trained import TrainedNet, as_image
from vgg_sweep.protocols.means import Protocol, mean
from vgg_sweep.protocols.methods import BOTH, test_scales
from vgg_sweep.protocols.passes import Pass, passes_of
from vgg_sweep.score.sanity import check_classifier
from vgg_sweep.score.score import FORWARD_PX, pass_posteriors

ProtocolName = Literal["single", "multi", "centre", "crops", "all"]

_ANSWERS = {
    "single": [("dense", "single")],
    "multi": [("dense", "multi")],
    "centre": [("centre-crop", "single")],
    "crops": [(BOTH, "multi")],
    "all": [("dense", "single"), ("dense", "multi"), ("centre-crop", "single"), ("ten-crop", "single"),
            ("multi-crop", "multi"), (BOTH, "multi")],
}  # fmt: skip
"""Method and rule of Q of each answer; the names are those of conf/protocol, whose passes suffice for them."""


@dataclass(frozen=True)
class Prediction:
    """What the net says of one image under each protocol, or why it says nothing."""

    path: Path
    image: Image.Image | None
    posteriors_K: dict[Protocol, NDArray[np.float64]]
    error: str | None = None


def protocols(loaded: TrainedNet, name: ProtocolName) -> list[Protocol]:
    """The protocols that `name` stands for, at the test scales of the net."""
    S, crop = loaded.config.train_scale.S, loaded.config.crop
    return [Protocol(method, tuple(test_scales(S, rule, crop))) for method, rule in _ANSWERS[name]]


def find_images(paths: Iterable[Path]) -> list[Path]:
    """The files among `paths`, and the images in the folders among them, sorted.

    Raises `ConfigError` for a path that is not there, or a folder without images.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = image_files(path)
            if not inside:
                raise ConfigError(f"{path} has no images ({', '.join(EXTENSIONS)}); name another folder, or files.")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise ConfigError(f"{path} is not there; name image files, or folders of them.")
    return found


def predict(
    loaded: TrainedNet, paths: Sequence[Path], wanted: Sequence[Protocol], device: Device
) -> Iterator[Prediction]:
    """What the net of `loaded` says of each image, in their order: the posteriors that scoring would compute.

    An image that cannot be used is reported, and the others go on. Images are decoded while those before them are in
    the net. Raises `RunError` for a net without a classifier, which has features only.
    """
    check_classifier(loaded.net)
    passes = {each for protocol in wanted for each in passes_of(protocol.method, protocol.test_scales)}
    largest_Q = max(each.Q for each in passes)
    per_batch = max(1, FORWARD_PX[device.place.type] // largest_Q**2)
    loaded.net.to(device.place, memory_format=device.memory_format)  # type: ignore[call-overload]
    with ThreadPoolExecutor(max(1, loaded.config.workers)) as pool:
        for batch in _decoded_ahead(pool, paths, per_batch, loaded.config.data.exif_rotation, largest_Q):
            images = [prediction.image for prediction in batch if prediction.image is not None]
            of_pass = {each: iter(_posteriors(loaded, images, each, device)) for each in passes}
            for prediction in batch:
                if prediction.image is None:
                    yield prediction
                    continue
                own = {each: next(posteriors_NK) for each, posteriors_NK in of_pass.items()}
                yield replace(prediction, posteriors_K={each: _under(each, own) for each in wanted})


def _decoded_ahead(
    pool: ThreadPoolExecutor, paths: Sequence[Path], per_batch: int, exif_rotation: bool, Q_px: int
) -> Iterator[list[Prediction]]:
    """The images in batches, the next one being decoded while one is in use."""
    batches = [paths[first : first + per_batch] for first in range(0, len(paths), per_batch)]
    ahead = [pool.submit(_decoded, path, exif_rotation, Q_px) for path in batches[0]]
    for following in [*batches[1:], []]:
        current, ahead = ahead, [pool.submit(_decoded, path, exif_rotation, Q_px) for path in following]
        yield [future.result() for future in current]


def _decoded(path: Path, exif_rotation: bool, Q_px: int) -> Prediction:
    try:
        image = as_image(path, exif_rotation=exif_rotation)
        check_fits(image.size, Q_px)
        return Prediction(path, image, {})
    except BadImage as error:
        return Prediction(path, None, {}, f"{path} cannot be rescaled ({error}).")
    except RunError as error:
        return Prediction(path, None, {}, str(error))


def _posteriors(loaded: TrainedNet, images: Sequence[Image.Image], each: Pass, device: Device) -> NDArray[np.float64]:
    """Posteriors [N, K] of one pass."""
    images_HWC = [rescaled(image, each.Q, loaded.preprocessing.interpolation) for image in images]
    own = pass_posteriors(loaded.net, images_HWC, each, loaded.config.crop, loaded.preprocessing, device)
    return own.astype(np.float64)


def _under(protocol: Protocol, of_pass: Mapping[Pass, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Posteriors [K] of one image under a protocol: means over flips, over the two methods of "multi-crop & dense",
    and over the scales, all of equal weight (`report.protocols`).
    """
    own = passes_of(protocol.method, protocol.test_scales)
    return mean(of_pass[each] for each in own)
