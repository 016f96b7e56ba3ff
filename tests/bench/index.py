"""`make bench-index`: what an index of as many images as ILSVRC has takes: time to write and to open, bytes, memory.

Names and numbers are synthetic, as long as ILSVRC's; of the files themselves only those are made that are looked at
when an index is opened. Each opening is a process of its own; the files' sizes are in the system's cache.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from vgg_sweep.images.sets.imagenet import NUM_TRAIN, NUM_VAL
from vgg_sweep.images.sets.index import LOOKED_AT, WHOLE_FILE, FoundImage, Listing, indexed
from vgg_sweep.images.sets.wnids import sorted_order

NUM_BYTES = 110_000
"""Of an image file."""
SHARES = (0.01, 0.1, 1.0)
"""Of ILSVRC's images."""
LOOKS = 10_000
"""Images that an opened index is asked for, in random order, as in training."""
OPENINGS = 5
OPEN = """
import sys, time
from pathlib import Path
import numpy as np
from vgg_sweep.images.sets.index import indexed

def memory():
    words = Path("/proc/self/status").read_text().split()
    return [int(words[words.index(kind) + 1]) * 1024 for kind in ("RssAnon:", "RssFile:")]

before, began = memory(), time.perf_counter()
images = indexed(Path(sys.argv[1]), lambda: sys.exit("stale")).images
opened = time.perf_counter()
rows = np.random.default_rng(0).integers(len(images.train), size=int(sys.argv[2])).tolist()
for row in rows:
    images.train.ids[row], images.train.labels_N[row], images.train.stored(row)
looked = time.perf_counter()
print(opened - began, (looked - opened) / len(rows), *(now - then for then, now in zip(before, memory())))
"""


def main() -> None:
    table = Table(box=SIMPLE_HEAD, show_edge=False)
    for heading in ("images", "write s", "on disk", "open s", "µs an image", "own memory", "mapped"):
        table.add_column(heading, justify="right")
    for share in SHARES:
        with tempfile.TemporaryDirectory() as scratch:
            table.add_row(*_row(Path(scratch), round(NUM_TRAIN * share), round(NUM_VAL * share)))
    Console().print(table)


def _row(scratch: Path, num_train: int, num_val: int) -> list[str]:
    listing = _listing(scratch / "set", num_train, num_val)
    began = time.perf_counter()
    index = indexed(scratch / "index", lambda: listing)
    seconds = time.perf_counter() - began
    command = [sys.executable, "-c", OPEN, str(index.folder), str(LOOKS)]
    outputs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(OPENINGS)]
    opening, looking, own, mapped = np.median([list(map(float, output.split())) for output in outputs], axis=0)
    sizes = [decimal(int(num_bytes)) for num_bytes in (index.num_bytes, own, mapped)]
    return [
        f"{num_train + num_val:,}",
        f"{seconds:.1f}",
        sizes[0],
        f"{opening:.3f}",
        f"{1e6 * looking:.1f}",
        *sizes[1:],
    ]


def _listing(root: Path, num_train: int, num_val: int) -> Listing:
    """A folder a wnid in train/ and val/, as in ILSVRC."""
    wnids = sorted_order()
    listing = Listing(classes=wnids)
    for split, num_images in (("train", num_train), ("val", num_val)):
        looked_at = set(np.linspace(0, num_images - 1, min(LOOKED_AT, num_images), dtype=np.int64).tolist())
        for wnid, rows in zip(wnids, np.array_split(np.arange(num_images), len(wnids)), strict=True):
            folder = root / split / wnid
            folder.mkdir(parents=True)
            names = {row: f"{'ILSVRC2012_val' if split == 'val' else wnid}_{row:08d}.JPEG" for row in rows.tolist()}
            for row in looked_at & names.keys():
                with open(folder / names[row], "wb") as file:
                    file.truncate(NUM_BYTES)  # takes no room on disk
            found = (
                FoundImage(f"{split}/{wnid}/{name}", str(folder), WHOLE_FILE, NUM_BYTES) for name in names.values()
            )
            listing.add(split, wnid, found)
            listing.stamp(folder)
    return listing


if __name__ == "__main__":
    main()
