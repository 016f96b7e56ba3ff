"""The two ways in which a request ends badly, each with a sentence for the user."""


class ConfigError(ValueError):
    """The request is wrong; the message says what was given, what is allowed and what to do. Exit code 2."""


class RunError(RuntimeError):
    """A well-formed request failed; the message says at what and how to go on. Exit code 1."""
