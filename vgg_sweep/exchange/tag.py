"""The tag of an exported file: all that `import` needs to rebuild the same net.

It is kept in the metadata of a .safetensors or an .onnx, beside the arrays of an .h5, as one more file in the archives
.keras and .pt2, and in the `_metadata` that torch keeps with a state dict.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from omegaconf import OmegaConf

from vgg_sweep.config.checks import read_config
from vgg_sweep.config.imported import Preprocessing
from vgg_sweep.config.schema import Config
from vgg_sweep.errors import RunError
from vgg_sweep.nets.weights import METADATA_KEY
from vgg_sweep.predict.trained import CONFIG_KEY, TrainedNet

KEY = METADATA_KEY
"""Under which every format keeps it."""
PREPROCESSING_KEY = "preprocessing"


@dataclass(frozen=True)
class Tag:
    """What an exported file says about its net."""

    config: Config
    preprocessing: Preprocessing
    """Of images for the tensors as the file has them."""
    classes: list[str]


def tag_values(loaded: TrainedNet, preprocessing: Preprocessing) -> dict[str, str]:
    """The tag of a file whose tensors take images of `preprocessing`; it names no folder of this machine."""
    own, default = loaded.config, Config()
    config = replace(own, data=replace(own.data, root=None), out=default.out, cache=default.cache, run=None)
    if own.start_from is not None:
        config = replace(config, start_from=Path(own.start_from).name)
    added = {CONFIG_KEY: OmegaConf.to_yaml(config), PREPROCESSING_KEY: json.dumps(asdict(preprocessing))}
    return loaded.metadata | added


def tag_text(loaded: TrainedNet, preprocessing: Preprocessing) -> str:
    """The same as one text."""
    return json.dumps(tag_values(loaded, preprocessing), sort_keys=True)


def read_tag(text: str | None, file: Path) -> Tag | None:
    """The tag in a file's text; None without one. Raises `RunError` naming `file` if it is damaged."""
    try:
        values = json.loads(text or "{}")
        if CONFIG_KEY not in values or PREPROCESSING_KEY not in values:
            return None
        preprocessing = Preprocessing(**json.loads(values[PREPROCESSING_KEY]))
        return Tag(
            read_config(file, "export the net again", values[CONFIG_KEY]), preprocessing, json.loads(values["classes"])
        )
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(f"the tag of {file} is damaged ({error}); export the net again.") from error
