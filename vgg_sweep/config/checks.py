"""What the schema cannot say: which values are allowed, alone and together."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from vgg_sweep.config.schema import Config
from vgg_sweep.errors import ConfigError
from vgg_sweep.protocols.methods import PAPER_CROP_PX, parse_pass

_CHOICES = {
    "recipe.init": ("normal", "literal", "glorot", "he"),
    "recipe.schedule": ("plateau", "fractions"),
    "recipe.last_batch": ("short", "wrap"),
    "train_scale.trainable": ("all", "fc"),
    "data.source": (
        "fractals",
        "folder",
        "imagenet",
        "cifar10",
        "cifar100",
        "stl10",
        "tiny-imagenet",
        "caltech101",
        "flowers102",
        "food101",
        "imagenette",
        "imagenette-320",
        "imagenette-160",
    ),
    "data.labels_order": ("auto", "sorted", "devkit"),
    "data.on_bad_image": ("error", "skip", "substitute"),
    "data.decode": ("exact", "scaled"),
    "data.cache": ("auto", "memory", "none", "packed"),
    "preprocessing.channel_order": ("RGB", "BGR"),
    "preprocessing.interpolation": ("nearest", "bilinear", "bicubic", "lanczos"),
    "warm_start": ("paper", "none"),
    "precision": ("auto", "fp32", "bf16", "fp16"),
    "layout": ("auto", "channels-last", "nchw"),
    "logger": ("none", "tensorboard", "wandb", "mlflow", "trackio"),
}


_NOT_NEGATIVE = ("threads", "workers", "micro_batch", "checkpoint_every_steps")


_POSITIVE = ("crop", "width", "recipe.batch_size", "recipe.epochs", "recipe.fine_tune_epochs", "recipe.max_steps",
             "recipe.patience_epochs", "recipe.validate_epochs", "recipe.lr", "recipe.fine_tune_lr",
             "recipe.pixel_max", "preprocessing.pixel_max",
             "devices", "data_timeout_seconds",
             "log_every_steps", "checkpoint_every_minutes", "data.fractals.num_classes",
             "data.fractals.train_per_class", "data.fractals.val_per_class")  # fmt: skip


def checked(raw: DictConfig) -> Config:
    """The typed configuration of `raw`, or `ConfigError` naming the first setting that cannot be."""
    if OmegaConf.get_type(raw) is not Config:
        raw = OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.to_container(raw))  # type: ignore[assignment]
    return valid(OmegaConf.to_object(raw))  # type: ignore[arg-type]


def valid(config: Config) -> Config:
    """`config`, or `ConfigError` naming the first setting that cannot be."""
    for key, allowed in _CHOICES.items():
        value = _at(config, key)
        if value not in allowed:
            raise ConfigError(f"{key}={value} is not known; choose one of {', '.join(allowed)}.")
    for key in _POSITIVE:
        if _at(config, key) <= 0:
            raise ConfigError(f"{key}={_at(config, key)} must be greater than 0.")
    for key in _NOT_NEGATIVE:
        if _at(config, key) < 0:
            raise ConfigError(f"{key}={_at(config, key)} must not be less than 0.")
    if config.crop % 32:
        lower = max(32, config.crop // 32 * 32)
        raise ConfigError(
            f"crop={config.crop} is not a multiple of 32, which five 2x2 poolings need; try crop={lower} or "
            f"crop={lower + 32}."
        )
    if not 0 <= config.recipe.dropout < 1:
        raise ConfigError(f"recipe.dropout={config.recipe.dropout} must be at least 0 and less than 1.")
    if config.data.val_share is not None and not 0 < config.data.val_share < 1:
        raise ConfigError(f"data.val_share={config.data.val_share} must be greater than 0 and less than 1, or null.")
    if config.jobs != "auto" and not (config.jobs.isdigit() and int(config.jobs) > 0):
        raise ConfigError(f"jobs={config.jobs} is neither `auto` nor a positive number.")
    if "BN" in config.model.columns and config.imported.sha256 is None:
        raise ConfigError(
            f"model={config.model.name} has BN, which is for imported nets only: the paper trains without it."
        )
    _check_scales(config)
    return config


def _check_scales(config: Config) -> None:
    S = config.train_scale.S
    if len(S) != 2 or S[0] > S[1]:
        raise ConfigError(f"train_scale.S={S} must be [smallest, largest], in pixels at crop 224.")
    if S[0] < PAPER_CROP_PX:
        raise ConfigError(f"train_scale.S={S} is smaller than the crop of {PAPER_CROP_PX} it is given for.")
    for name in config.protocol.passes:
        parse_pass(name, S, config.crop)


def _at(config: Config, dotted: str) -> Any:
    value: Any = config
    for key in dotted.split("."):
        value = getattr(value, key)
    return value
