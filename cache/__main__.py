"""The command line: `python -m twofold`, installed as `twofold` too."""

import os
import sys
from contextlib import suppress


def main() -> None:
    """Run the command line, or say what to install for it."""
    try:
        from twofold.cli.app import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "twofold":
            raise
        sys.exit(
            f"twofold: the command line needs {error.name!r}, which is not installed:"
            " pip install '.[cli]'"
        )
    run()


def _leave_the_folder_out() -> None:
    """Take from the path of modules the working directory, which `python -m` has put there."""
    with suppress(OSError):
        if sys.path[0] == os.getcwd():
            del sys.path[0]


if __name__ == "__main__":
    _leave_the_folder_out()
    main()
