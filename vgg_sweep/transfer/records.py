"""Results of probes on disk: a JSON file for each way to describe the images, in the run's folder, split by split.

    transfer/<set>/<layer>-<...>-<hash>.json

A record of several nets lies in the folder of the first.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vgg_sweep.config.transfer import Transfer
from vgg_sweep.errors import RunError
from vgg_sweep.features.store import FeatureFolder
from vgg_sweep.runs.files import read_json, write_json
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.transfer.descriptors import Descriptor

FORMAT = 1


@dataclass(frozen=True)
class Probe:
    """One way to describe a set's images, by one net or several, and how they are probed."""

    runs: Sequence[RunFolder]
    folders: Sequence[FeatureFolder]
    data: str
    """The set's name."""
    source: str
    how: Descriptor
    asked: Transfer
    """Resolved."""
    shots: int | None = None
    """Training images of a class, where they are fewer than those of the split."""
    manifests: Sequence[Mapping[str, Any]] = field(default=(), repr=False)

    @property
    def key(self) -> dict[str, Any]:
        """What decides the result; equal keys are one record."""
        names = ["C", "held_out", "difficult", "num_splits", "train_per_class", "test_per_class", "split_seed"]
        return {
            "format": FORMAT,
            "nets": [run.id for run in self.runs],
            "weights": [manifest["weights_fingerprint"] for manifest in self.manifests],
            "precisions": sorted({entry["precision"] for manifest in self.manifests for entry in manifest["files"]}),
            "data": self.data,
            "source": self.source,
            "data_fingerprint": self.manifests[0]["data_fingerprint"],
            "drawn": self.manifests[0]["test"] is None,
            "metric": self.manifests[0]["metric"],
            "how": self.how.key,
            "shots": self.shots,
            "asked": {name: getattr(self.asked, name) for name in names},
        }

    @property
    def file(self) -> Path:
        digest = hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()[:8]
        words = [self.how.layer, self.how.method, "Q" + "_".join(map(str, self.how.scales)), self.how.pool]
        words += [*self.how.regions[1:], self.how.weights.removeprefix("own"), f"{self.shots}shots" * bool(self.shots)]
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", "-".join(filter(None, words)))
        return self.runs[0].path / "transfer" / self.folders[0].path.name / f"{name}-{digest}.json"

    def found(self) -> list[dict[str, Any]]:
        """What its record has of each split that is done."""
        return list(read_json(self.file).get("splits", []))

    def write(self, splits: Sequence[Mapping[str, Any]], overrides: Sequence[str]) -> None:
        """`overrides` are the settings of the command, for others like it."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        about = {"classes": self.manifests[0]["classes"], "overrides": list(overrides)}
        write_json(self.file, {**self.key, **about, "splits": list(splits)})


def record_files(run: RunFolder) -> list[Path]:
    """Those in a run's folder, sorted by name."""
    return sorted(run.path.glob("transfer/*/*-????????.json"))


def read_records(run: RunFolder) -> Iterator[dict[str, Any]]:
    """The records of `record_files`. Raises `RunError` for one that is damaged."""
    for file in record_files(run):
        record = read_json(file)
        if record.get("format") != FORMAT or not {"nets", "how", "splits", "asked"} <= record.keys():
            raise RunError(f"{file} is not the record of a probe; remove it and give its command again.")
        yield record
