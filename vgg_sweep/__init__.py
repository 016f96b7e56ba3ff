"""The VGG paper (Simonyan & Zisserman, ICLR 2015, arXiv 1409.1556v6) as a command-line experiment-sweep tool."""

from typing import TYPE_CHECKING, Any

from vgg_sweep.version import __version__

if TYPE_CHECKING:
    from vgg_sweep.predict.trained import load as load
    from vgg_sweep.report.results.plain import load_results as load_results

__all__ = ["__version__", "load", "load_results"]


def __getattr__(name: str) -> Any:
    """`load` and `load_results`, imported when asked for: most commands do without their torch and pandas."""
    if name == "load":
        from vgg_sweep.predict.trained import load

        return load
    if name == "load_results":
        from vgg_sweep.report.results.plain import load_results

        return load_results
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {' and '.join(__all__[1:])}.")


def __dir__() -> list[str]:
    return __all__
