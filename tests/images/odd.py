"""Image files of the odd kinds that real sets have, each made here, byte by byte where no library would write it."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image


def file_of(image: Image.Image, kind: str, **settings: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **settings)
    return out.getvalue()


def picture(mode: str, width: int = 24, height: int = 17, seed: int = 0) -> Image.Image:
    """Smooth, so that a lossy file of it stays close."""
    grid = np.random.default_rng(seed).integers(40, 216, (3, 3, 3), np.uint8)
    return Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_of(header: bytes, data: bytes) -> bytes:
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def gif_that_claims(width: int, height: int) -> bytes:
    """Of one frame with two colours and hardly any data."""
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return screen + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\0;"


def _turned(width: int, height: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return file_of(picture("RGB", width, height), "JPEG", exif=exif.tobytes(), quality=95)


def _sixteen_bits() -> bytes:
    levels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 15 + 1000
    return file_of(Image.fromarray(levels), "TIFF")


def _with_alpha() -> bytes:
    image = picture("RGB", 40, 33)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return file_of(image, "PNG")


def _palette_with_a_hole() -> bytes:
    return file_of(picture("RGB", 64, 64).quantize(8), "PNG", transparency=3)


def _animation() -> bytes:
    frames = [picture("RGB", 32, 24, seed).quantize(16) for seed in range(3)]
    return file_of(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)


def _profile_after_the_frame_header() -> bytes:
    """The segment APP2 behind SOF0, where the standard lets it stand and no encoder puts it."""
    data = file_of(Image.new("RGB", (10, 10), (10, 200, 90)), "JPEG")
    start = data.index(b"\xff\xc0")
    end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    profile = b"ICC_PROFILE\0\x01\x01" + b"not a profile"
    segment = b"\xff\xe2" + struct.pack(">H", len(profile) + 2) + profile
    return data[:end] + segment + data[end:]


def _junk_between_segments() -> bytes:
    data = file_of(picture("RGB", 60, 40), "JPEG", quality=95)
    end = 4 + int.from_bytes(data[4:6], "big")  # of the first segment, APP0
    return data[:end] + b"junk of a camera" + data[end:]


ODD: dict[str, tuple[Callable[[], bytes], tuple[int, int] | str]] = {
    "16bit.tif": (_sixteen_bits, (64, 64)),
    "turned.jpg": (lambda: _turned(120, 180), (120, 180)),
    "turned_rectangle.jpg": (lambda: _turned(2, 1), (2, 1)),
    "bomb_gif_named.jpg": (lambda: gif_that_claims(65535, 65535), "decompression bomb"),
    "noise_behind_the_signature.png": (
        lambda: b"\x89PNG\r\n\x1a\n" + np.random.default_rng(0).bytes(72),
        "in no known image format",
    ),
    "no_zlib_stream.png": (
        lambda: png_of(struct.pack(">IIBBBBB", 40, 40, 8, 2, 0, 0, 0), b"no zlib stream at all" * 9),
        "broken data stream",
    ),
    "animated_gif_named.jpg": (_animation, (32, 24)),
    "grey.jpg": (lambda: file_of(picture("L", 128, 128), "JPEG"), (128, 128)),
    "rgba_png_named.JPEG": (_with_alpha, (40, 33)),
    "palette_with_a_hole_png_named.JPEG": (_palette_with_a_hole, (64, 64)),
    "profile_after_the_frame_header.jpg": (_profile_after_the_frame_header, (10, 10)),
    "large_profile_progressive.jpg": (
        lambda: file_of(
            picture("RGB", 85, 50), "JPEG", progressive=True, icc_profile=np.random.default_rng(0).bytes(500_000)
        ),
        (85, 50),
    ),
    "junk_between_segments.jpg": (_junk_between_segments, (60, 40)),
    "palette.png": (lambda: file_of(picture("RGB", 81, 75).quantize(123), "PNG"), (81, 75)),
    "cmyk.jpg": (lambda: file_of(picture("CMYK", 100, 100), "JPEG"), (100, 100)),
    "truncated.jpg": (lambda: file_of(picture("RGB", 300, 200), "JPEG", quality=95)[:-3000], "image file is truncated"),
    "zero_width.gif": (lambda: gif_that_claims(0, 5), "in no known image format"),
}
"""By name: what makes the file, and its width and height, or the words with which it is refused."""
