"""The sources of Django's own tests, and our names in the place of Django's."""

import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

_WANTED = ("cache", "sessions_tests")
_OURS = {
    "django.core.cache.backends.locmem.LocMemCache": "tests.django_suite.places.InPlaceOfLocMem",
    "django.core.cache.backends.dummy.DummyCache": "twofold.contrib.django.DummyCache",
    "django.core.cache.backends.filebased.FileBasedCache": "twofold.contrib.django.FileCache",
    "django.core.cache.backends.memcached.PyMemcacheCache": "twofold.contrib.django.MemcachedCache",
    "django.core.cache.backends.redis.RedisCache": "twofold.contrib.django.RedisCache",
    "from django.core.cache.backends.locmem import LocMemCache": (
        "from tests.django_suite.places import InPlaceOfLocMem as LocMemCache"
    ),
    "from django.middleware.cache import": "from tests.django_suite.pages import",
    "from django.views.decorators.cache import cache_control, cache_page": (
        "from django.views.decorators.cache import cache_control\n"
        "from tests.django_suite.pages import cache_page"
    ),
}


def suite() -> Path:
    """Return the folder of the tests of the Django that is installed.

    They are fetched from the registry once, and kept in this virtual environment.
    """
    release = version("django")
    kept = Path(sys.prefix, "share", f"django-{release}-tests")
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=kept.parent, prefix=".django-") as folder:
            _keep(_unpacked(_downloaded(release, Path(folder))), kept)
    return kept


def repoint(tests: Path, folder: Path) -> None:
    """Write the tests to `folder`, with our names in the place of Django's."""
    shutil.copytree(tests, folder)
    for file in folder.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        for theirs, ours in _OURS.items():
            text = text.replace(theirs, ours)
        file.write_text(text, encoding="utf-8")


def _downloaded(release: str, folder: Path) -> Path:
    """Fetch the source distribution."""
    options = ["--quiet", "--no-deps", "--no-binary", "django", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, f"django=={release}"]
    subprocess.run(command, check=True)
    (file,) = folder.glob("*.tar.gz")
    return file


def _unpacked(file: Path) -> Path:
    """Unpack what we want of a source distribution beside it."""
    root = file.name.removesuffix(".tar.gz")
    folders = tuple(f"{root}/tests/{name}/" for name in _WANTED)
    with tarfile.open(file) as archive:
        wanted = [each for each in archive if each.name.startswith(folders)]
        archive.extractall(file.parent, wanted, filter="data")
    return file.parent / root / "tests"


def _keep(tests: Path, kept: Path) -> None:
    """Move the tests to where they are kept, unless another process was quicker."""
    try:
        tests.rename(kept)
    except OSError:
        if not kept.exists():
            raise
