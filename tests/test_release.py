"""What a release says of itself is said once, or is the same wherever it is said."""

from __future__ import annotations

import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import skbig

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[1]
VERSION = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})$", re.MULTILINE)
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def changelog() -> str:
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def pinned() -> set[str]:
    """Return the packages whose versions are tested, as they are spelt in names of projects."""
    files = sorted(ROOT.glob("constraints*.txt"))
    lines = [line for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    return {canonical(line.partition("==")[0]) for line in lines if not line.startswith("#")}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=~!; ]", name)[0]).lower()


def test_every_version_has_a_date() -> None:
    """Each version in the changelog has the day of its release, the newest first."""
    heads = re.findall(r"^## .*$", changelog(), re.MULTILINE)
    released = [head for head in heads if head != "## [Unreleased]"]
    found = VERSION.findall(changelog())
    assert [f"## [{version}] - {day}" for version, day in found] == released
    days = [date.fromisoformat(day) for _, day in found]
    assert days == sorted(days, reverse=True)
    assert heads.index("## [Unreleased]") == 0 if "## [Unreleased]" in heads else True
    assert {*re.findall(r"^### (.*)$", changelog(), re.MULTILINE)} <= KINDS


def test_one_version() -> None:
    """The package, its metadata, the changelog and the citation tell of the same version and day."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    version, day = VERSION.findall(changelog())[0]
    assert version == skbig.__version__ == project()["project"]["version"] == citation["version"]
    assert citation["date-released"] == day
    assert citation["license"] == project()["project"]["license"]
    assert citation["repository-code"] == project()["project"]["urls"]["Source"]
    assert citation["url"] == project()["project"]["urls"]["Documentation"]


def test_what_is_installed_is_pinned() -> None:
    """Every package that the commands of `make` install by name has a version in a file of constraints."""
    extras = project()["project"]["optional-dependencies"]
    wanted = [*project()["project"]["dependencies"], *(name for names in extras.values() for name in names)]
    assert {canonical(name) for name in wanted} <= pinned()


def test_hooks_are_the_linters() -> None:
    """What pre-commit runs is what `make lint` runs, in the same environment."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    entries = [hook["entry"].replace(" --force-exclude", "") for hook in hooks]
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nlint: .venv/.lint\n")[2].partition("\n\n")[0]
    assert entries == [line.strip().removesuffix(" .") for line in recipe.splitlines()]
    assert {hook["language"] for hook in hooks} == {"system"}


def test_forms_are_whole() -> None:
    """Each form for issues has a name, a description and fields with labels, and each field a name of its own."""
    forms = [path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"]
    assert len(forms) > 1
    for path in forms:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert form["name"] and form["description"]
        assert all(field["attributes"]["label"] for field in form["body"])
        names = [field["id"] for field in form["body"]]
        assert len({*names}) == len(names)


def test_every_command_is_explained() -> None:
    """`make help` and CONTRIBUTING list the commands there are."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = {*re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()} - {"help"}
    assert {*re.findall(r'@echo "make (\S+)', makefile)} == commands
    told = {*re.findall(r"^\| `make (\S+)` \|", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE)}
    assert told == commands - {"clean"}


def test_every_environment_is_made() -> None:
    """A target of the Makefile that needs an environment has a rule that makes it."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    needed = set(re.findall(r"(\.venv[\w-]*)/\.[\w-]+", text))
    made = set(re.findall(r"^(\.venv[\w-]*)/\.%:", text, re.MULTILINE))
    assert needed == made
