"""environment.yml, constraints.txt and pyproject.toml agree."""

import re
import tomllib

import pytest
import yaml
from conftest import REPOSITORY
from packaging.requirements import Requirement


def test_environment_yml_agrees_with_pyproject() -> None:
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    python = next(d for d in environment["dependencies"] if str(d).startswith("python"))
    assert python.replace("python ", "") == project["requires-python"]
    pip = next(d for d in environment["dependencies"] if isinstance(d, dict))["pip"]
    extras = re.fullmatch(r"-e \.\[(.*)\]", pip[0])
    assert extras
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])


def test_constraints_fit_pyproject() -> None:
    pyproject = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    project = pyproject["project"]
    optional = project["optional-dependencies"]
    extras = [requirement for extra in optional.values() for requirement in extra]
    wanted = [*project["dependencies"], *extras, *pyproject["dependency-groups"]["docs"]]
    pins = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in pins if "==" in line and line[0] != "#")
    pinned = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    for requirement in map(Requirement, wanted):
        if requirement.name in pinned:
            assert pinned[requirement.name] in requirement.specifier, requirement


@pytest.mark.parametrize("page", ["README.md", "docs/using.md"])
def test_what_pages_say_the_library_needs(page: str) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    needs = [f"Python {project['requires-python']}", *project["dependencies"]]
    words = " and ".join(needs).replace("torch", "torch ").replace(">=", "≥ ")
    assert words in (REPOSITORY / page).read_text()
