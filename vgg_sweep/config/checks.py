"""Typing and checking a composed configuration: each field by its own rules, then fields that depend on each other."""

import time
from operator import attrgetter
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from vgg_sweep.config.localise import BOX_METHODS
from vgg_sweep.config.schema import Config
from vgg_sweep.config.vocabulary import schema_fields
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.protocols.methods import PAPER_CROP_PX, parse_pass
from vgg_sweep.protocols.seals import unsealed_yaml

_STARTED = time.localtime()


def checked(raw: DictConfig) -> Config:
    """The typed configuration of `raw`, or `ConfigError` naming the first setting that cannot be.

    `${now:...}` is the time at which this process started: all runs of a command are made in one folder.
    """
    OmegaConf.register_new_resolver("now", lambda pattern: time.strftime(pattern, _STARTED), replace=True)
    if OmegaConf.get_type(raw) is not Config:
        raw = OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.to_container(raw))  # type: ignore[assignment]
    return valid(OmegaConf.to_object(raw))  # type: ignore[arg-type]


def read_config(file: Path, advice: str, text: str | None = None) -> Config:
    """The configuration in a config.yaml, or in `text`, a part of `file`.

    Raises `RunError` with the `advice` if it cannot be read.
    """
    try:
        raw = OmegaConf.create(unsealed_yaml(file.read_text(encoding="utf-8")) if text is None else text)
        if not isinstance(raw, DictConfig):
            raise ValueError("it holds no settings")
        return checked(raw)
    except (OSError, ValueError, TypeError, OmegaConfBaseException, YAMLError) as error:
        raise not_whole(file, error, advice) from error


def not_whole(file: Path, error: Exception, advice: str = "") -> RunError:
    """What to say of a config.yaml that cannot be read, or is no run's, for `error`."""
    match error:
        case OSError():
            reason = str(error.strerror)
        case UnicodeDecodeError():
            reason = "it is not text"
        case KeyError() | TypeError():
            reason = "some of its values are not those of a run"
        case _:
            reason = str(error).partition("\n")[0].rstrip(".")
    advice = advice or f"put back a copy of it, or move {file.parent} elsewhere to continue without this run"
    return RunError(f"{file} is not a whole configuration ({reason}); {advice}.")


def valid(config: Config) -> Config:
    """`config`, or `ConfigError` naming the first setting that cannot be."""
    for name, (_, _, rules) in schema_fields().items():
        if complaint := rules.complaint(value := attrgetter(name)(config)):
            raise ConfigError(f"{name}={value} {complaint}.")
    if config.crop % 32:
        lower = max(32, config.crop // 32 * 32)
        raise ConfigError(
            f"crop={config.crop} is not a multiple of 32, which five 2x2 poolings need; try crop={lower} or "
            f"crop={lower + 32}."
        )
    if config.jobs != "auto" and not (config.jobs.isdigit() and int(config.jobs) > 0):
        raise ConfigError(f"jobs={config.jobs} is neither `auto` nor a positive number.")
    if config.start_from is not None and config.warm_start == "none":
        raise ConfigError(f"start_from={config.start_from} and warm_start=none contradict each other; leave one out.")
    if config.task == "localise" and config.recipe.label_smoothing:
        raise ConfigError(
            f"recipe.label_smoothing={config.recipe.label_smoothing} is for classes, and task=localise learns boxes; "
            "set it to 0."
        )
    if config.start_from is not None and config.imported.sha256 is not None:
        raise ConfigError(f"start_from={config.start_from} is for nets that are trained; leave it out to import one.")
    if "BN" in config.model.columns and config.imported.sha256 is None and config.start_from is None:
        _check_batch_norm(config)
    _check_scales(config)
    _check_task(config)
    return config


def _check_scales(config: Config) -> None:
    S = config.train_scale.S
    if len(S) != 2 or S[0] > S[1]:
        raise ConfigError(f"train_scale.S={S} must be [smallest, largest], in pixels at crop 224.")
    if S[0] < PAPER_CROP_PX:
        raise ConfigError(f"train_scale.S={S} is smaller than the crop of {PAPER_CROP_PX} it is given for.")
    for name in config.protocol.passes:
        parse_pass(name, S, config.crop)


def _check_batch_norm(config: Config) -> None:
    """Raise `ConfigError` for settings under which a batch normalisation would have other images than they say."""
    recipe, name = config.recipe, config.model.name
    groups = "recipe.bn_images=N, at least 2, normalises over groups of N images, which gives another result"
    if 0 < config.micro_batch < recipe.batch_size:
        raise ConfigError(
            f"micro_batch={config.micro_batch} would change what the batch normalisations of model={name} see, which "
            f"is the whole batch; leave micro_batch out ({groups})."
        )
    if recipe.bn_images == 1 or recipe.batch_size == 1:
        images = f"recipe.bn_images={recipe.bn_images}, recipe.batch_size={recipe.batch_size}"
        raise ConfigError(f"{images} leaves one image to normalise model={name} over; {groups}.")
    if recipe.bn_images and config.devices > 1:
        raise ConfigError(
            f"with devices={config.devices} batch normalisation is over the whole batch, so recipe.bn_images="
            f"{recipe.bn_images} needs devices=1; leave one of the two out."
        )


def check_batches(config: Config, num_images: int, num_ranks: int, *, is_whole: bool) -> None:
    """Raise `ConfigError` if a batch of an epoch of `num_images` is too small for all processes, or, where it must go
    through the net as a whole, is a single image; or if it cannot be cut into groups alike on several processes.
    """
    recipe = config.recipe
    if is_whole and recipe.bn_images and num_ranks > 1:
        raise ConfigError(
            f"with {num_ranks} processes batch normalisation is over the whole batch, so recipe.bn_images="
            f"{recipe.bn_images} needs a single process; leave one of the two out."
        )
    if recipe.last_batch == "wrap":
        return
    smallest = min(recipe.batch_size, num_images % recipe.batch_size or recipe.batch_size)
    if smallest < num_ranks:
        raise ConfigError(
            f"a batch has {smallest} images (the last of an epoch may be smaller), too few for {num_ranks} "
            f"processes; change recipe.batch_size={recipe.batch_size} or use fewer processes."
        )
    if is_whole and smallest == 1:
        raise ConfigError(
            f"the last batch of an epoch of {num_images} images is a single one, too few for batch normalisation; "
            f"change recipe.batch_size={recipe.batch_size}, or fill that batch up with recipe.last_batch=wrap."
        )


def _check_task(config: Config) -> None:
    if config.task == "classify":
        default = Config()
        for name in ("boxes", "localise"):
            if getattr(config, name) != getattr(default, name):
                raise ConfigError(f"{name} is for nets that predict boxes; add task=localise, or leave {name} out.")
    elif config.imported.sha256 is not None:
        raise ConfigError("task=localise is for nets that are trained here; leave it out to import weights.")
    elif others := [name for name in config.protocol.passes if name.partition("@")[0] not in BOX_METHODS]:
        raise ConfigError(
            f"protocol.passes has '{others[0]}', but boxes are predicted dense and from the centre crop; use "
            "protocol=single or multi."
        )
