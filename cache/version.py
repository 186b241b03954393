"""The version that is installed."""

from importlib.metadata import PackageNotFoundError, version


def _installed() -> str:
    """Return the version in the metadata, which an application in one file has not."""
    try:
        return version("twofold")
    except PackageNotFoundError:
        return "0+unknown"


__version__: str = _installed()
