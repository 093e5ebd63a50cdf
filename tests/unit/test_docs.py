"""The documents are true: names, commands, routes, settings and links are those of the code."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "function_app_samples").rglob("README.md")])
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
PUBLIC = ["durable_ext", "durable_ext.client", "durable_ext.backends", "durable_ext.errors", "durable_ext.testing"]


def _section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}$\n(.*?)(?=^## |\Z)", REFERENCE, re.DOTALL | re.MULTILINE)
    assert found is not None, f"docs/reference.md has no section '{title}'"
    return found.group(1)


def _first_cells(section: str) -> list[str]:
    """The names in the first column of a section's tables; a cell may hold several, separated by commas."""
    cells = re.findall(r"^\| (`[^|]+`) \|", section, re.MULTILINE)
    return [name.strip("` ") for cell in cells for name in cell.split("`, `")]


def _ids(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("module", PUBLIC)
def test_the_reference_lists_exactly_the_public_names(module: str) -> None:
    documented = _first_cells(_section(f"`{module}`"))

    assert sorted(documented) == sorted(importlib.import_module(module).__all__)


def _commands(group: click.Command, path: str = "durable") -> list[tuple[str, click.Command]]:
    if isinstance(group, click.Group):
        return [found for name, inner in group.commands.items() for found in _commands(inner, f"{path} {name}")]
    return [(path, group)]


def test_the_reference_describes_every_command_and_option() -> None:
    cli = importlib.import_module("durable_ext.cli.main").commands
    section = _section("Command line")

    missing = [
        f"{path} {option}"
        for path, command in _commands(cli)
        for parameter in command.params
        for option in ("", *(name for name in parameter.opts if name.startswith("--")))
        if f"`{path}`" not in section or (option and f"`{option}`" not in section)
    ]

    assert missing == []


def _known_settings() -> set[str]:
    known = importlib.import_module("durable_ext.hosting.host_json").HostJson.known
    names = set(known("extensions.durableTask"))
    for section in ("storageProvider", "httpSettings", "appLeaseOptions"):
        names.remove(section)
        names |= {f"{section}.{name}" for name in known(f"extensions.durableTask.{section}")}
    return names


def test_every_setting_in_the_reference_is_known_to_host_json() -> None:
    documented = set(_first_cells(_section("host.json: `extensions.durableTask`")))

    assert documented - _known_settings() == set()


def test_the_reference_names_every_setting_that_host_json_may_hold() -> None:
    section = _section("host.json: `extensions.durableTask`")

    assert sorted(name for name in _known_settings() if f"`{name}`" not in section) == []


@pytest.mark.parametrize("page", PAGES, ids=_ids(PAGES))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))

    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=_ids(PAGES))
def test_python_examples_are_python(page: Path) -> None:
    for block in re.findall(r"^ *```python\n(.*?)^ *```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        lines = block.splitlines()
        indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
        text = "\n".join(line[indent:] for line in lines)
        ast.parse(f"def block():\n{_indented(text)}" if "yield" in text and "def " not in text else text)


def _indented(text: str) -> str:
    return "\n".join("    " + line for line in text.splitlines())


def test_files_that_the_documents_name_exist() -> None:
    named = {
        (page.name, path)
        for page in PAGES
        for path in re.findall(r"`((?:tests|docs|function_app_samples|durable_ext)/[\w./-]+\.(?:py|md))`", page.read_text())
    }

    assert sorted(found for found in named if not (ROOT / found[1]).exists()) == []


def test_the_readme_starts_with_the_two_commands() -> None:
    blocks = re.findall(r"^```console\n\$ (.*?)\n```$", (ROOT / "README.md").read_text(), re.MULTILINE)

    assert blocks[:2] == ["python3 function_app_samples/try_it.py", "python3 tests/run.py"]


def test_the_changelog_has_a_section_for_what_comes_next() -> None:
    assert "## [Unreleased]" in (ROOT / "docs" / "changelog.md").read_text()
