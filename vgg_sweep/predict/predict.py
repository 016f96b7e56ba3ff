"""Predictions of a trained net on unlabelled images, under any of the paper's protocols.

Axes: N images, K classes, H W pixels, C colours, h w positions of the class score map.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.images.decode import BadImage, size_px
from vgg_sweep.images.files import EXTENSIONS, image_files
from vgg_sweep.images.sets.splits import ImageSet, Split
from vgg_sweep.images.views.crops import rescaled, rescaled_size
from vgg_sweep.localise.geometry import Floats
from vgg_sweep.machine.hardware import Hardware, choose_hardware
from vgg_sweep.predict.trained import Picture, TrainedNet, as_image
from vgg_sweep.protocols.means import Protocol, mean
from vgg_sweep.protocols.methods import BOTH, test_scales
from vgg_sweep.protocols.passes import Pass, passes_of
from vgg_sweep.score.batches import ahead
from vgg_sweep.score.sanity import NUM_IMAGES, check_classifier, check_sanity
from vgg_sweep.score.score import FORWARD_PX, pass_posteriors

if TYPE_CHECKING:
    import pandas as pd

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
AT_ONCE = 32
"""So many images of a notebook are held decoded."""
MOST_ASPECT = 32
"""Longer side of an image by its shorter: of longer ones the net would see next to nothing, for minutes."""
MOST_PX = 2**23
"""Of a rescaled image: 2896 x 2896, which takes about 4 GB in D."""


@dataclass(frozen=True)
class BoxGuess:
    """A class that the net sees in an image, and where."""

    label: int
    posterior: float
    box_4: Floats
    """First and last pixels (x0, y0, x1, y1), within the image."""


@dataclass(frozen=True)
class Prediction:
    """What the net says of one image under each protocol or, of a net that localises, its best guesses first; or why it
    says nothing.
    """

    path: Path
    image: Image.Image | None
    posteriors_K: dict[Protocol, NDArray[np.float64]]
    error: str | None = None
    guesses: Sequence[BoxGuess] = ()


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
            raise ConfigError(f"{path} does not exist; name image files, or folders of them.")
    return found


def predict(
    loaded: TrainedNet, paths: Sequence[Path], wanted: Sequence[Protocol], hardware: Hardware, map_Q_px: int = 0
) -> Iterator[Prediction]:
    """What the net of `loaded` says of each image, in their order: the posteriors that scoring would compute.

    An image that cannot be read, or is too long and thin for the largest Q (or `map_Q_px`), comes with the reason, and
    the others go on. Images are decoded while those before them are in the net. Raises `RunError` for a net without a
    classifier, which has features only, and for one that fails the check before scoring.
    """
    Qs_px = [Q for protocol in wanted for Q in protocol.test_scales]
    _check_net(loaded, paths, hardware)
    per_batch = max(1, FORWARD_PX[hardware.device.type] // max(Qs_px) ** 2)
    hardware.hold(loaded.net)
    with ThreadPoolExecutor(max(1, loaded.config.workers)) as pool:
        for batch in decoded_ahead(pool, paths, per_batch, max(map_Q_px, *Qs_px), loaded.config.data.exif_rotation):
            images = [prediction.image for prediction in batch if prediction.image is not None]
            answers = _answers(loaded, images, wanted, hardware)
            for each in batch:
                yield each if each.image is None else replace(each, posteriors_K=next(answers))


def _answers(
    loaded: TrainedNet, images: Sequence[Image.Image], wanted: Sequence[Protocol], hardware: Hardware
) -> Iterator[dict[Protocol, NDArray[np.float64]]]:
    """What the net says of each image under each protocol: means over flips, over the two methods of "multi-crop &
    dense", and over the scales, all of equal weight (`protocols.means`).
    """
    passes_under = {protocol: passes_of(protocol.method, protocol.test_scales) for protocol in wanted}
    of_pass: dict[Pass, NDArray[np.float64]] = {}
    for each in {each for passes in passes_under.values() for each in passes}:
        images_HWC = [rescaled(image, each.Q, loaded.preprocessing.interpolation) for image in images]
        own = pass_posteriors(loaded.net, images_HWC, each, loaded.config.crop, loaded.preprocessing, hardware)
        of_pass[each] = own.astype(np.float64)
    for number in range(len(images)):
        said = {protocol: mean(of_pass[each][number] for each in passes) for protocol, passes in passes_under.items()}
        if not all(np.isfinite(posteriors_K).all() for posteriors_K in said.values()):
            raise RunError("the net's scores are not finite; its weights are damaged, or not those of a VGG.")
        yield said


def predictions(loaded: TrainedNet, pictures: Sequence[Picture], protocol: str, top: int) -> "pd.DataFrame":
    """As `TrainedNet.predict` gives them: of files, folders, Pillow's images or arrays in a notebook."""
    import pandas as pd  # which takes a while

    known = [name for name in get_args(ProtocolName) if name != "all"]
    if protocol not in known:
        raise ConfigError(f"there is no protocol '{protocol}' to predict by; choose from {', '.join(known)}.")
    (wanted,) = protocols(loaded, protocol)  # type: ignore[arg-type]
    hardware = choose_hardware(replace(loaded.config, device="cpu", precision="fp32"))
    _check_net(loaded, [], hardware)
    named, rows = list(_named(pictures)), []
    for first in range(0, len(named), AT_ONCE):
        some = named[first : first + AT_ONCE]
        images = [as_image(picture, exif_rotation=loaded.config.data.exif_rotation) for _, picture in some]
        for (name, _), answer in zip(some, _answers(loaded, images, [wanted], hardware), strict=True):
            best_K = np.argsort(-answer[wanted], kind="stable")[:top]
            rows += [
                (name, rank, loaded.classes[k], float(answer[wanted][k])) for rank, k in enumerate(best_K, start=1)
            ]
    return pd.DataFrame(rows, columns=["image", "rank", "answer", "posterior"])


def _named(pictures: Sequence[Picture]) -> Iterator[tuple[str | int, Picture]]:
    """Each picture with what it is called; those in a folder one by one."""
    for number, picture in enumerate(pictures):
        if isinstance(picture, str | Path):
            yield from ((str(path), path) for path in find_images([Path(picture)]))
        else:
            yield number, picture


def _check_net(loaded: TrainedNet, paths: Sequence[Path], hardware: Hardware) -> None:
    """Refuse an imported net as before scoring, by those images that lie in a folder named after one of its classes."""
    if loaded.config.task == "localise":
        raise ConfigError("this net predicts boxes; give --boxes to see them, or name the run that it was made from.")
    check_classifier(loaded.net)
    labels = {name: label for label, name in enumerate(loaded.classes)}
    labelled = [path for path in paths if path.absolute().parent.name in labels]
    labelled = labelled[:: max(1, len(labelled) // NUM_IMAGES)]
    if loaded.config.imported.sha256 is None or not labelled:
        return
    settings = replace(loaded.config.data, on_bad_image="skip", cache="none", decode="exact")
    labels_N = np.array([labels[path.absolute().parent.name] for path in labelled])
    split = Split([str(path) for path in labelled], labels_N, labelled.__getitem__, settings)
    if any(split.image_or_none(index) is not None for index in range(len(split))):
        check_sanity(loaded.net, loaded.config, ImageSet(split, split, loaded.classes, ""), hardware)


def decoded_ahead(
    pool: ThreadPoolExecutor, paths: Sequence[Path], per_batch: int, Q_px: int, exif_rotation: bool
) -> Iterator[list[Prediction]]:
    """The images in batches, the next one being decoded while one is in use."""
    batches = (paths[first : first + per_batch] for first in range(0, len(paths), per_batch))
    return ahead(pool, partial(_decoded, Q_px=Q_px, exif_rotation=exif_rotation), batches)


def _decoded(path: Path, Q_px: int, exif_rotation: bool) -> Prediction:
    try:
        if too_long := _too_long(path, Q_px):
            return Prediction(path, None, {}, too_long)
        return Prediction(path, as_image(path, exif_rotation=exif_rotation), {})
    except RunError as error:
        return Prediction(path, None, {}, str(error))


def _too_long(path: Path, Q_px: int) -> str | None:
    """In a sentence, that an image is too long and thin for the net, by its header; None if it is not or has none."""
    try:
        width, height = size_px(path)
    except (BadImage, OSError):
        return None
    sides = rescaled_size(width, height, Q_px)
    if max(width, height) <= MOST_ASPECT * min(width, height) and sides[0] * sides[1] <= MOST_PX:
        return None
    return (
        f"{path} has {width} x {height} px and would have {sides[0]} x {sides[1]} px at Q={Q_px}; an image may be "
        f"{MOST_ASPECT} times as long as wide, and have {MOST_PX:,} px at Q: crop it first."
    )
