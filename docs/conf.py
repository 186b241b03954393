"""The site: the pages of this folder, and a reference made of the docstrings."""

import re
from typing import Any

from django.conf import settings

import twofold
from twofold import errors

settings.configure()  # the drop-ins import Django's

project = "twofold"
author = "The twofold developers"
project_copyright = author
version = release = twofold.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
suppress_warnings = ["ref.python"]  # a name that two modules have is found in its own

html_theme = "furo"
html_title = f"twofold {version}"
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "monokai"

default_role = "code"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = True
python_maximum_signature_line_length = 80

_OUTSIDE = re.compile(r"\[([^]]+)\]\((?:(?:\.\./)+(?:\.github/)?[A-Z]+\.md[^)]*|[\w/]+\.py)\)")
_HEADING = re.compile(r"^([A-Z][\w ]+):$", re.MULTILINE)
_IN_SHORT = re.compile(r"^In short: (.+\n)(.+\n)(.+\n)", re.MULTILINE)
_PAGE = re.compile(r"\]\(([\w/-]+)\.md\)")


def with_contents(_app: Any, page: str, source: list[str]) -> None:
    """Make the contents of the lists in the index, and a box of what a page comes to."""
    source[0] = _OUTSIDE.sub(r"\1", source[0])
    if page == "api":
        source[0] += "".join(map(_directive, _unlisted(source[0])))
    else:
        source[0] = _IN_SHORT.sub(_in_a_box, source[0], count=1)
    if page == "index":
        _, *parts = _HEADING.split(source[0])
        for heading, part in zip(parts[::2], parts[1::2], strict=True):
            pages = "\n".join(_PAGE.findall(part))
            source[0] += f"\n:::{{toctree}}\n:hidden:\n:caption: {heading}\n\n{pages}\n:::\n"
        source[0] += "\n:::{toctree}\n:hidden:\n:caption: Reference\n\napi\n:::\n"


def _in_a_box(lines: re.Match[str]) -> str:
    """Return the three lines with which a page begins as a box, each on a line of its own."""
    first, *others = lines.groups()
    told = "\\\n".join(each.strip() for each in (first[0].upper() + first[1:], *others))
    return f":::{{admonition}} In short\n:class: tip\n\n{told}\n:::\n"


def _unlisted(text: str) -> list[str]:
    """Return the public names that a reference does not have under one of its headings."""
    named = {*re.findall(r":: twofold\.(\w+)$", text, re.MULTILINE), *dir(errors), *_ELSEWHERE}
    return [name for name in twofold.__all__ if name not in named]


_ELSEWHERE = {"__version__", "Timeout", "cached", "events"}


def _directive(name: str) -> str:
    found = getattr(twofold, name)
    if isinstance(found, type):
        return f"\n.. autoclass:: twofold.{name}\n   :members:\n"
    kind, more = ("function", "") if callable(found) else ("data", "   :no-value:\n")
    return f"\n.. auto{kind}:: twofold.{name}\n{more}"


def without_modules(
    _app: Any, what: str, _name: str, _of: Any, _how: Any, lines: list[str]
) -> None:
    """Leave out what modules say of themselves, which is for readers of the code."""
    if what == "module":
        lines.clear()


def setup(app: Any) -> None:
    """Have Sphinx call the functions above."""
    app.connect("source-read", with_contents)
    app.connect("autodoc-process-docstring", without_modules)
