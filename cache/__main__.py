"""The command line: `python -m twofold`, installed as `twofold` too."""

import sys


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


if __name__ == "__main__":
    main()
