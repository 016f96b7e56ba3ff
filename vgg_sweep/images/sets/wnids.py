"""The 1000 classes of ILSVRC-2012 to 2014: wnid, number in the development kit, names.

Facts of the challenge's own files (map_clsloc.txt, synset_words.txt); the names are WordNet's. Two orders are in use:
sorted by wnid (Caffe, torchvision, timm, Keras, this program) and by ILSVRC2012_ID (the development kit's ground
truth). They agree for no class. Names are for people only: two classes are called "crane" and two "maillot".
"""

import csv
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

WNID = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class Synset:
    """One class."""

    wnid: str
    devkit_id: int
    """ILSVRC2012_ID, 1 to 1000."""
    names: str
    """Synonyms, separated by commas."""


@cache
def synsets() -> dict[str, Synset]:
    """All classes by wnid, sorted by it."""
    with open(Path(__file__).with_name("ilsvrc2012.csv"), encoding="utf-8", newline="") as file:
        rows = [Synset(row["wnid"], int(row["devkit_id"]), row["names"]) for row in csv.DictReader(file)]
    return {row.wnid: row for row in rows}


def sorted_order() -> list[str]:
    """The wnids in the order of our labels, from 0."""
    return list(synsets())


def devkit_order() -> list[str]:
    """The wnids in the order of ILSVRC2012_ID: the first has number 1."""
    return sorted(synsets(), key=lambda wnid: synsets()[wnid].devkit_id)


def shown(name: str) -> str:
    """A class for people: `tench (n01440764)` of ILSVRC's, any other as it is named."""
    known = synsets().get(name)
    return f"{known.names.split(',')[0]} ({name})" if known else name
