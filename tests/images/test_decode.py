"""Odd and broken image files: those that were found, and a generator of more of every kind."""

import errno
import io
import struct
import tarfile
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from tests.images.odd import ODD, file_of, picture, png_of
from tests.paths import SHARED
from vgg_sweep.images.decode import BadImage, ByteRange, counted_warnings, decoded, encoded, size_px

ROBUST = SHARED / "data" / "robust"

# Width and height, and the colour of one pixel where another program (GIMP's or ImageMagick's reading, or the file's
# making) tells it; or the words with which it is refused.
OUTCOMES: dict[str, tuple[int, int] | str] = {
    "16bit.cropped.tif": (64, 64),
    "Landscape_6.jpg": (1200, 1800),
    "bomb_gif_named.jpg": "decompression bomb",
    "broken.png": "in no known image format",
    "broken_data_stream.png": "unrecognized data stream",
    "chi_gif_named.jpg": (320, 240),
    "hopper_gray.jpg": (128, 128),
    "hopper_orientation_6.jpg": (128, 128),
    "horse_rgba_png_named.JPEG": (400, 328),
    "i_trns_png_named.JPEG": (64, 64),
    "icc-after-SOF.jpg": (10, 10),
    "icc_profile_big.jpg": (425, 250),
    "junk_jpeg_header.jpg": (1024, 768),
    "orientation_rectangle.jpg": (2, 1),
    "pil123p.png": (162, 150),
    "pil_sample_cmyk.jpg": (100, 100),
    "truncated_jpeg.jpg": "image file is truncated",
    "zero_width.gif": "in no known image format",
}
FOUND = list(OUTCOMES) if ROBUST.is_dir() else []
"""Files of other projects, which a clone elsewhere lacks; `ODD` has every kind of them."""


def odd(name: str) -> tuple[bytes, tuple[int, int] | str]:
    """The file, and what becomes of it."""
    if name in ODD:
        make, outcome = ODD[name]
        return make(), outcome
    return (ROBUST / name).read_bytes(), OUTCOMES[name]


def one_of(made: str, found: str) -> list[str]:
    return [made, found] if FOUND else [made]


def pixels(data: bytes, **settings: bool) -> np.ndarray:
    image = decoded(data, **settings)
    assert image.mode == "RGB" and image.size == size_px(data, **settings)
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("name", [*ODD, *FOUND])
def test_odd_files(name: str) -> None:
    data, outcome = odd(name)
    if isinstance(outcome, str):
        with pytest.raises(BadImage, match=outcome):
            decoded(data)
        return
    image = pixels(data)
    assert image.shape == (outcome[1], outcome[0], 3)
    assert image.std() > 0 or max(outcome) <= 10, "not one flat colour"


def test_every_file_that_was_found_has_an_outcome() -> None:
    assert not ROBUST.is_dir() or {path.name for path in ROBUST.iterdir()} == set(OUTCOMES)


@pytest.mark.parametrize("name", one_of("16bit.tif", "16bit.cropped.tif"))
def test_16_bits_of_a_file_are_scaled(name: str) -> None:
    data, _ = odd(name)
    deep = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    assert deep.max() > 255 and abs(pixels(data)[..., 1] - deep / 257).max() <= 0.5


@pytest.mark.parametrize("name", one_of("turned.jpg", "hopper_orientation_6.jpg"))
def test_a_turned_file_is_turned_where_asked(name: str) -> None:
    turned, plain = pixels(odd(name)[0], exif_rotation=True), pixels(odd(name)[0])
    assert turned.shape != plain.shape or (turned != plain).any()
    assert (turned == np.rot90(plain, -1)).all()


@pytest.mark.parametrize("name", one_of("turned_rectangle.jpg", "orientation_rectangle.jpg"))
def test_a_turned_rectangle_stands(name: str) -> None:
    assert pixels(odd(name)[0], exif_rotation=True).shape == (2, 1, 3)


@pytest.mark.parametrize("name", one_of("rgba_png_named.JPEG", "horse_rgba_png_named.JPEG"))
def test_transparency_of_a_file_shows_white(name: str) -> None:
    rgba = np.asarray(Image.open(io.BytesIO(odd(name)[0])))
    alpha = rgba[..., 3:] / 255
    assert abs(pixels(odd(name)[0]) - (rgba[..., :3] * alpha + 255 * (1 - alpha))).max() <= 1.5


LOSSLESS = [("1", "PNG"), ("L", "PNG"), ("RGB", "PNG"), ("RGB", "BMP"), ("RGB", "TIFF"), ("RGB", "PPM"), ("L", "GIF"),
            ("1", "TIFF"), ("CMYK", "TIFF")]  # fmt: skip


@pytest.mark.parametrize(("mode", "kind"), LOSSLESS)
@pytest.mark.parametrize("seed", range(3))
def test_lossless_files_give_their_colours_whatever_their_name(mode: str, kind: str, seed: int, tmp_path: Path) -> None:
    image = picture(mode, 5 + 13 * seed, 31 - 7 * seed, seed)
    path = tmp_path / "named.JPEG"
    path.write_bytes(file_of(image, kind))
    assert (np.asarray(decoded(path)) == np.asarray(image.convert("RGB"))).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize(
    "settings", [{}, {"progressive": True}, {"subsampling": 0}, {"optimize": True}, {"restart_marker_rows": 1}]
)
def test_jpegs_give_nearly_their_colours(mode: str, settings: dict[str, object]) -> None:
    image = picture(mode, 48, 40)
    assert abs(pixels(file_of(image, "JPEG", quality=95, **settings)) - np.asarray(image.convert("RGB"))).max() < 24


def test_adobes_inverted_cmyk_is_not_a_negative() -> None:
    """Pillow writes CMYK as Adobe does: inverted, with the marker APP14."""
    data = file_of(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    assert b"Adobe" in data and abs(pixels(data) - [255, 0, 0]).max() < 6


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_not_clipped(dtype: str, kind: str) -> None:
    levels = np.linspace(0, 65535, 20 * 30).astype(dtype).reshape(20, 30)
    found = pixels(file_of(Image.fromarray(levels), kind))
    assert abs(found - levels[..., None] / 257).max() <= 0.5 and found.max() == 255


def test_floats_run_from_0_to_1_and_others_are_refused() -> None:
    levels = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    assert abs(pixels(file_of(Image.fromarray(levels), "TIFF"))[..., 2] - 255 * levels).max() <= 0.5
    for strange in (levels * 300, levels - 0.5, levels * np.nan):
        with pytest.raises(BadImage, match="grey levels run from"):
            decoded(file_of(Image.fromarray(strange.astype(np.float32)), "TIFF"))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_transparent_pixels_show_white(mode: str, kind: str) -> None:
    image = picture("RGB", 16, 16).convert(mode)
    alpha = np.tile(np.linspace(0, 255, 16).astype(np.uint8), (16, 1))
    image.putalpha(Image.fromarray(alpha))
    share = alpha[..., None] / 255
    expected = np.asarray(picture("RGB", 16, 16).convert(mode[:-1]).convert("RGB")) * share + 255 * (1 - share)
    data = file_of(image, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    assert abs(pixels(data) - expected).max() <= 1.5


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_colour_of_a_palette_shows_white(kind: str) -> None:
    image = Image.new("P", (4, 2), 0)
    image.putpalette([200, 0, 0, 0, 100, 0])
    image.putpixel((1, 1), 1)
    found = pixels(file_of(image, kind, transparency=0))
    assert (found[0, 0] == 255).all() and found[1, 1].tolist() == [0, 100, 0]


def test_a_transparent_grey_of_16_bits_shows_white() -> None:
    levels = np.array([[0, 1000], [30000, 65535]], np.uint16)
    data = file_of(Image.fromarray(levels), "PNG", transparency=1000)
    assert pixels(data)[..., 0].tolist() == [[0, 255], [117, 255]]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "MPO"])
def test_the_first_frame_counts(kind: str) -> None:
    red, blue = (Image.new("RGB", (16, 16), colour) for colour in ((250, 0, 0), (0, 0, 250)))
    found = pixels(file_of(red, kind, save_all=True, append_images=[blue]))
    assert found[..., 0].min() > 200 and found[..., 2].max() < 40


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_rotation_is_ignored_unless_asked_for(orientation: int, kind: str) -> None:
    image = picture("RGB", 24, 16)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file_of(image, kind, exif=exif.tobytes())
    with Image.open(io.BytesIO(data)) as plain:
        as_stored = np.asarray(image if kind != "JPEG" else plain.convert("RGB"))
        if kind != "TIFF":  # of which the orientation is a part, as Pillow has it
            assert (pixels(data) == as_stored).all()
        assert (pixels(data, exif_rotation=True) == np.asarray(ImageOps.exif_transpose(plain).convert("RGB"))).all()


@pytest.mark.parametrize("exif_rotation", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_damaged_exif_and_profiles_are_no_reason_to_stop(exif_rotation: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a maker"
    damaged = bytearray(exif.tobytes())
    for place in rng.integers(6, len(damaged), 8):
        damaged[place] = rng.integers(256)
    data = file_of(picture("RGB", 24, 16), "JPEG", exif=bytes(damaged), icc_profile=rng.bytes(3000))
    with counted_warnings(lambda sentence: None):
        assert sorted(pixels(data, exif_rotation=exif_rotation).shape) == [3, 16, 24]


def test_a_profile_is_ignored() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    image = picture("RGB")
    assert (pixels(file_of(image, "PNG", icc_profile=profile)) == np.asarray(image)).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (2, 2)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_tiny_and_narrow_images(size: tuple[int, int], kind: str) -> None:
    assert abs(pixels(file_of(Image.new("RGB", size, (9, 99, 199)), kind)) - [9, 99, 199]).max() < 4


def png_that_claims(width: int, height: int) -> bytes:
    return png_of(struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), zlib.compress(b"\0" * 100))


def text_bomb() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("t", "a" * 80_000_000, zip=True)
    return file_of(Image.new("RGB", (4, 4)), "PNG", pnginfo=info)


BROKEN: dict[str, Callable[[np.random.Generator], bytes]] = {
    "bomb": lambda rng: png_that_claims(int(rng.integers(20_000, 2**31 - 1)), 20_000),
    "empty": lambda rng: b"",
    "noise": lambda rng: rng.bytes(5000),
    "page": lambda rng: b"<!DOCTYPE html><title>404</title>" + rng.bytes(100),
    "no_pixels": lambda rng: png_that_claims(0, 5),
    "too_few_pixels": lambda rng: png_that_claims(40, 40),
    "cut_jpeg": lambda rng: file_of(picture("RGB", 300, 200), "JPEG")[: -int(rng.integers(1000, 3000))],
    "cut_png": lambda rng: file_of(picture("RGB", 300, 200), "PNG")[: -int(rng.integers(1000, 3000))],
    "cut_in_the_header": lambda rng: file_of(picture("RGB"), "JPEG")[: int(rng.integers(2, 150))],
    "text_bomb": lambda rng: text_bomb(),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_refused(kind: str) -> None:
    for seed in range(1 if kind == "text_bomb" else 5):
        with pytest.raises(BadImage, match=r"\w+"):
            decoded(BROKEN[kind](np.random.default_rng(seed)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"])
def test_damaged_bytes_give_pixels_or_a_refusal_and_nothing_else(kind: str) -> None:
    whole = file_of(picture("RGB", 60, 40), kind)
    with counted_warnings(lambda sentence: None):
        for seed in range(60):
            rng, data = np.random.default_rng(seed), bytearray(whole)
            for place in rng.integers(0, len(data), 3):
                data[place] = rng.integers(256)
            try:
                assert decoded(bytes(data), exif_rotation=True).mode == "RGB"
            except BadImage:
                pass


def test_a_stretch_of_a_tar_is_an_image(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for seed in range(3):
            data = file_of(picture("RGB", seed=seed), "PNG")
            (tmp_path / f"{seed}.png").write_bytes(data)
            tar.add(tmp_path / f"{seed}.png", f"{seed}.png")
    with tarfile.open(tmp_path / "a.tar") as tar:
        members = tar.getmembers()
    for seed, member in enumerate(members):
        stretch = ByteRange(tmp_path / "a.tar", member.offset_data, member.size)
        assert encoded(stretch) == (tmp_path / f"{seed}.png").read_bytes()
        assert (np.asarray(decoded(stretch)) == np.asarray(picture("RGB", seed=seed))).all()


def test_a_failing_disk_is_not_a_bad_image(tmp_path: Path) -> None:
    for look in (decoded, size_px):
        with pytest.raises(OSError, match="No such file") as caught:
            look(tmp_path / "gone.jpg")  # type: ignore[operator]
        assert caught.value.errno == errno.ENOENT and not isinstance(caught.value, BadImage)


def test_warnings_of_a_kind_are_said_once_and_counted() -> None:
    said: list[str] = []
    with counted_warnings(said.append) as kinds:
        for number in range(5):
            warnings.warn_explicit(
                f"Corrupt EXIF data. {number}", UserWarning, "/site/PIL/TiffImagePlugin.py", number, "PIL.x"
            )
        with pytest.warns(UserWarning, match="ours"):
            warnings.warn("ours", UserWarning, stacklevel=1)
    assert len(said) == 1 and "Corrupt EXIF data. 0" in said[0]
    assert kinds == {"Corrupt EXIF data.": 5}
