"""Which passes a run needs, and which of them are not on disk yet."""

from vgg_sweep.config.schema import Config
from vgg_sweep.protocols.methods import parse_pass
from vgg_sweep.protocols.passes import Pass, passes_of
from vgg_sweep.protocols.scored import is_whole
from vgg_sweep.runs.files import read_json
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.runs.prune import are_pruned


def passes(config: Config) -> list[Pass]:
    """The passes that the configuration's protocol needs, each once; of boxes that of Table 8 too, a view an image."""
    names = [*config.protocol.passes, *(["centre-crop@single"] if config.task == "localise" else [])]
    parsed = (parse_pass(name, config.train_scale.S, config.crop) for name in names)
    return sorted({each for method, scales_px in parsed for each in passes_of(method, scales_px)})


def missing(folder: RunFolder, config: Config) -> list[Pass]:
    """The passes of the protocol that are not on disk yet, or no longer whole; not those that were pruned."""
    scored = folder.boxes if config.task == "localise" else folder.posteriors
    entries = read_json(scored / "manifest.json").get("files", [])
    whole = [entry for entry in entries if are_pruned(folder) or is_whole(scored, entry)]
    there = {Pass(entry["method"], entry["Q"], entry["flip"]) for entry in whole}
    return [each for each in passes(config) if each not in there]
