"""Any image file as RGB pixels.

A file's format follows from its first bytes, whatever its name. Of an animation the first frame counts; colour profiles
are ignored, as is the practice for ImageNet; CMYK is read as Adobe writes it.

Axes: H W pixels, C = 3 colours.
"""

import errno
import io
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from vgg_sweep.errors import RunError

GROUND_GREY = 255
"""What is seen through transparent pixels: white, the ground that most such pictures were drawn for."""
MAX_LEVEL = {"I": 65535, "F": 1.0}
"""White, in files of more than 8 bits a colour: integers count as 16 bits, however long they are."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation (CIPA DC-008, tag 0x0112) to what sets the image upright."""


class BadImage(RunError):
    """A file that cannot be decoded."""


class ByteRange(NamedTuple):
    """An image file inside another file, such as a tar."""

    file: Path
    offset: int
    num_bytes: int


Stored = Path | ByteRange | bytes | np.ndarray
"""An image as stored: an image file, wherever it is, or uint8 RGB pixels HWC."""


def encoded(stored: Path | ByteRange | bytes) -> bytes:
    """The bytes of the image file."""
    match stored:
        case bytes():
            return stored
        case ByteRange():
            with open(stored.file, "rb", buffering=0) as file:
                file.seek(stored.offset)
                return file.read(stored.num_bytes)
        case _:
            return stored.read_bytes()


def decoded(stored: Stored, *, exif_rotation: bool = False) -> Image.Image:
    """The image in RGB, upright if `exif_rotation`.

    Raises `BadImage` saying what is wrong with the file, and `OSError` if it is the disk that failed.
    """
    if isinstance(stored, np.ndarray):
        return Image.fromarray(stored)
    data = encoded(stored)
    with _bad_image(), Image.open(io.BytesIO(data)) as image:
        turn = TURNS.get(_orientation(image)) if exif_rotation else None
        rgb = _in_rgb(image)
        return rgb if turn is None else rgb.transpose(turn)


def size_px(stored: Stored, *, exif_rotation: bool = False) -> tuple[int, int]:
    """Width and height of the image that `decoded` gives, from the file's header. Raises as `decoded` does."""
    if isinstance(stored, np.ndarray):
        return stored.shape[1], stored.shape[0]
    source = stored if isinstance(stored, Path) else io.BytesIO(encoded(stored))
    with _bad_image(), Image.open(source) as image:
        is_on_its_side = exif_rotation and _orientation(image) >= 5
        return (image.height, image.width) if is_on_its_side else image.size


@contextmanager
def counted_warnings(note: Callable[[str], None]) -> Iterator[Counter[str]]:
    """Count what Pillow warns of, by the first words of its warnings, and pass only the first of each kind to `note`:
    a set of a million images may have thousands of damaged EXIF blocks.
    """
    kinds: Counter[str] = Counter()
    with warnings.catch_warnings():
        show = warnings.showwarning

        def count(message, category, filename, lineno, file=None, line=None) -> None:  # type: ignore[no-untyped-def]
            if "PIL" not in Path(filename).parts:
                show(message, category, filename, lineno, file, line)
                return
            kind = " ".join(str(message).split()[:3])
            kinds[kind] += 1
            if kinds[kind] == 1:
                note(f"an image: {str(message).strip()} (reported once; record.json counts such warnings)")

        warnings.filterwarnings("always", module=r"PIL\.")
        warnings.showwarning = count
        yield kinds


@contextmanager
def _bad_image() -> Iterator[None]:
    """Whatever a decoder stumbles over is the file's fault, except what the system says of its disk."""
    try:
        yield
    except (BadImage, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise BadImage("it is in no known image format") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise BadImage(str(error)) from error
    except Exception as error:  # decoders of broken files raise nearly anything
        raise BadImage(str(error) or type(error).__name__) from error


def _in_rgb(image: Image.Image) -> Image.Image:
    if image.mode in MAX_LEVEL or image.mode.startswith("I;16"):
        return _in_8_bits(image).convert("RGB")
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, (GROUND_GREY,) * 3 + (255,))
        return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
    if image.mode != "RGB":
        return image.convert("RGB")
    image.load()  # convert() would copy it
    return image


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Grey levels of 16 bits or floats scaled to 8 bits, where Pillow would clip them."""
    levels_HW = np.asarray(image)
    white = MAX_LEVEL[image.mode[0]]
    if not (levels_HW.min() >= 0 and levels_HW.max() <= white):
        raise BadImage(f"its grey levels run from {levels_HW.min():g} to {levels_HW.max():g}, not from 0 to {white:g}")
    grey_HW = np.rint(levels_HW * (255 / white)).astype(np.uint8)
    if "transparency" in image.info:
        grey_HW[levels_HW == image.info["transparency"]] = GROUND_GREY
    return Image.fromarray(grey_HW)


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation; 1, upright, where there is none or it cannot be read, and of TIFFs, which Pillow always
    sets upright.
    """
    if image.format == "TIFF":
        return 1
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # of damaged EXIF
        return 1
    return orientation if orientation in TURNS else 1


def disk_sentence(id: str, error: OSError) -> str:
    """What to do about a disk or system that does not give an image."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return (
            f"{id} cannot be opened, as too many files are open; raise the limit (`ulimit -n 4096`) or lower workers."
        )
    return (
        f"{id} cannot be read from its disk ({error.strerror}); check that the disk is there and the set complete. The "
        "same command continues from the last checkpoint."
    )
