"""The docs hold together: links lead somewhere, the index is whole, commands are spelt right."""

import re
import shlex
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from conftest import REPOSITORY
from hydra.core.override_parser.overrides_parser import OverridesParser

import lpwd
from lpwd.config.check import check
from lpwd.config.compose import composed, without_hydra

DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / "README.md", *sorted(DOCS.glob("*.md")), REPOSITORY / "examples/README.md"]
SITE = (REPOSITORY / "mkdocs.yml").read_text()
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(rf"{FENCED.pattern}|`[^`\n]*`", re.MULTILINE | re.DOTALL)
MAKE = re.compile(r"\bmake ([a-z][a-z0-9-]*)")
#: The arguments of a command of ours, up to a comment or the code's end.
MODULE = re.compile(r"python -m lpwd\.(?:train|listing) ((?:\\\n|[^\n`#\\])*)")


@cache
def text(page: Path) -> str:
    return page.read_text()


def prose(page: Path) -> str:
    return CODE.sub("", text(page))


def code(page: Path) -> str:
    return "\n".join(CODE.findall(text(page)))


def name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def anchors(page: Path) -> set[str]:
    """What GitHub makes of headings: lower case, hyphens for spaces, no punctuation."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    """Those into results/ name what commands write, which need not be there yet."""
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if "://" in link or (REPOSITORY / "results") in target.parents:
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert not dead


def test_the_index_names_every_page() -> None:
    linked = re.findall(r"\]\(([\w-]+\.md)\)", text(DOCS / "README.md"))
    assert sorted(linked) == sorted({page.name for page in DOCS.glob("*.md")} - {"README.md"})


def test_the_site_has_every_page() -> None:
    """And nothing that is not there; `make docs` is not needed to know."""
    shown = set(re.findall(r"([\w/-]+\.md)$", SITE, re.MULTILINE))
    assert {name(page) for page in PAGES} <= shown
    assert [page for page in shown if not (REPOSITORY / page).exists()] == []


def test_the_api_page_names_what_is_there_and_explained() -> None:
    names = re.findall(r"^::: (\S+)$", text(DOCS / "api.md"), re.MULTILINE)
    assert {f"lpwd.{public}" for public in lpwd.__all__} <= set(names)
    for full in names:
        module, _, attribute = full.rpartition(".")
        assert getattr(import_module(module), attribute).__doc__, full


def test_the_readme_names_every_module() -> None:
    """Its map of the files: nothing that is not there, nothing left out but the smallest."""
    rows = [row for row in text(REPOSITORY / "README.md").splitlines() if row.startswith("| ")]
    words = re.findall(r"`([\w/.]+(?:\.py|/))`", "\n".join(rows))
    named = {word.removeprefix("lpwd/").rstrip("/") for word in words}
    modules = {
        path.name
        for path in (REPOSITORY / "lpwd").iterdir()
        if path.name.endswith(".py") or path.is_dir()
    }
    assert modules - named <= {"__init__.py", "__pycache__", "errors.py"}
    there = {path.name for path in REPOSITORY.iterdir()} | modules
    assert {word.split("/")[0] for word in named} <= there


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_make_knows_the_targets(page: Path) -> None:
    rules = re.findall(r"^([\w ./-]+):", text(REPOSITORY / "Makefile"), re.MULTILINE)
    known = {target for rule in rules for target in rule.split()}
    assert set(MAKE.findall(code(page))) <= known


def commands() -> list[str]:
    """The arguments of every command in the docs, but for those with a shell's variables."""
    found = {line.replace("\\\n", " ") for page in PAGES for line in MODULE.findall(code(page))}
    return sorted({" ".join(line.split()) for line in found if "$" not in line})


@pytest.mark.parametrize("line", commands())
def test_hydra_knows_the_keys(line: str) -> None:
    """Of a sweep, its first run."""
    words = [word for word in shlex.split(line) if not word.startswith("-")]
    parsed = OverridesParser.create().parse_overrides(words)
    firsts = [
        f"{o.get_key_element()}={next(o.sweep_string_iterator())}"
        if o.is_sweep_override()
        else o.input_line
        for o in parsed
    ]
    check(without_hydra(composed(firsts)))
