"""What a protocol puts through the net: passes, each one view of every validation image (Sect. 3.2)."""

from dataclasses import dataclass

from vgg_sweep.config import Config, parse_pass
from vgg_sweep.store import RunFolder, read_json


@dataclass(frozen=True, order=True)
class Pass:
    """One view of every image: what one file of posteriors holds."""

    method: str
    Q: int
    flip: bool

    @property
    def name(self) -> str:
        return f"{self.method}-Q{self.Q}-flip{int(self.flip)}"


def passes(config: Config) -> list[Pass]:
    """The passes that the configuration's protocol needs, each once."""
    wanted = {
        Pass(method, Q, flip)
        for name in config.protocol.passes
        for method, scales_px in [parse_pass(name, config.train_scale.S, config.crop)]
        for Q in scales_px
        for flip in (False, True)
    }
    return sorted(wanted)


def missing(folder: RunFolder, config: Config) -> list[Pass]:
    """The passes of the protocol that are not on disk yet."""
    there = {
        (entry["method"], entry["Q"], entry["flip"])
        for entry in read_json(folder.posteriors / "manifest.json").get("files", [])
    }
    return [each for each in passes(config) if (each.method, each.Q, each.flip) not in there]
