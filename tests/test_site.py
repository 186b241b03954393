"""The site: it builds without a warning and without a network, and has every public name."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import twofold
from twofold import errors

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as a reader would, and return its folder."""
    folder = tmp_path_factory.mktemp("site")
    bin_folder = Path(sys.executable).parent
    environ = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    # A proxy that nobody listens at: what asked for the network would fail.
    environ |= dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:1")
    build = ["sh", str(DOCS / "build.sh"), str(folder)]
    done = subprocess.run(build, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.timeout(300)
def test_every_page_is_in_the_contents(site: Path) -> None:
    """Sphinx says so itself of a page that is in none; each is there as HTML."""
    pages = {path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")}
    assert all((site / page).exists() for page in pages)
    contents = (site / "index.html").read_text(encoding="utf-8")
    assert all(f'href="{page}"' in contents for page in pages - {Path("index.html")})


@pytest.mark.timeout(300)
def test_the_reference_has_every_public_name(site: Path) -> None:
    """Each name of `twofold.__all__` can be linked to, and so can each method of a cache."""
    there = set(re.findall(r'id="([\w.]+)"', (site / "api.html").read_text(encoding="utf-8")))
    elsewhere = {"__version__", "Timeout", "cached", "events"}
    names = {
        f"twofold.{'errors.' if hasattr(errors, name) else ''}{name}"
        for name in set(twofold.__all__) - elsewhere
    }
    names |= {f"twofold.Cache.{name}" for name in dir(twofold.Cache) if not name.startswith("_")}
    assert names - there == set()


@pytest.mark.timeout(300)
def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    """Scripts, styles and fonts are the site's own; there is a search, and a dark mode."""
    page = (site / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//', page)
    assert "theme-toggle" in page
    assert "tutorial" in (site / "searchindex.js").read_text(encoding="utf-8")


@pytest.mark.timeout(300)
def test_a_page_begins_with_a_box_of_what_it_comes_to(site: Path) -> None:
    """Its three lines stand below each other, as they do in the file."""
    for page in DOCS.rglob("*.md"):
        if page.name != "index.md":
            html = (site / page.relative_to(DOCS).with_suffix(".html")).read_text("utf-8")
            box = html.partition('<p class="admonition-title">In short</p>')[2].partition("</div>")
            assert box[0].count("<br") == 2, page


@pytest.mark.timeout(300)
def test_the_pictures_are_in_the_site(site: Path) -> None:
    """Each is beside the pages, whose links to it are the site's own."""
    drawn = {each.name for each in (DOCS / "pictures").glob("*.svg")} - {"faces.svg"}
    assert drawn <= {each.name for each in (site / "_images").iterdir()}
    assert "_images/rooms.svg" in (site / "architecture.html").read_text("utf-8")
