"""The version of the package; no module imports the package itself, which offers `load` and so all rooms."""

__version__ = "0.1.0"
