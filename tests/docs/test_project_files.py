"""What files of the project repeat of each other is the same: versions, packages, what a workflow may do."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from typing import Any

import pytest
import yaml

from .blocks import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINNED = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line
)
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
SHIPPED = ("setup-python", "checkout", "upload-artifact", "download-artifact", "cache", "gh-action-pypi-publish")


def workflow(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / f".github/workflows/{name}.yml").read_text(encoding="utf-8"))
    return loaded


def test_the_matrix_has_every_version_of_python_that_is_claimed_and_the_oldest_pytest() -> None:
    matrix = workflow("ci")["jobs"]["tests"]["strategy"]["matrix"]
    tested = {*matrix["python"], *(entry["python"] for entry in matrix["include"])}
    claimed = {
        found[1]
        for entry in PROJECT["project"]["classifiers"]
        if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", entry))
    }
    assert tested == claimed
    oldest = min(claimed, key=lambda version: int(version.partition(".")[2]))
    assert PROJECT["project"]["requires-python"] == f">={oldest}"
    (pytest_needed,) = (need for need in PROJECT["project"]["dependencies"] if re.match(r"pytest\b", need))
    assert pytest_needed.removeprefix("pytest>=") in {entry["pytest"] for entry in matrix["include"]}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_do_no_more_than_it_must(path: Any) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content["permissions"] in ({}, {"contents": "read"})
    writing = {
        f"{job}: {scope}"
        for job, what in content["jobs"].items()
        for scope, right in what.get("permissions", {}).items()
        if right == "write"
    }
    assert writing == ({"publish: id-token"} if path.stem == "release" else set())
    for job, what in content["jobs"].items():
        for step in what.get("steps", ()):
            action, _, version = step.get("uses", "").partition("@")
            if action:
                assert re.fullmatch(r"v\d+|release/v\d+|[0-9a-f]{40}", version), f"{job}: {step['uses']}"
                assert action.rpartition("/")[2] in SHIPPED, f"{job}: {step['uses']}"
            if action == "actions/checkout":
                assert step["with"]["persist-credentials"] is False, job


def test_a_release_is_published_by_trust_after_everything_passed() -> None:
    jobs = workflow("release")["jobs"]
    assert jobs["ci"]["uses"] == "./.github/workflows/ci.yml"
    assert (jobs["build"]["needs"], jobs["publish"]["needs"]) == ("ci", "build")
    assert jobs["publish"]["environment"]["name"] == "pypi"
    assert "secrets." not in json.dumps(jobs)
    called = workflow("ci")
    # YAML 1.1 reads the key "on" as true.
    assert "workflow_call" in called[True]  # type: ignore[index]  # YAML 1.1 reads the key 'on' as True


def test_make_targets_that_workflows_run_exist() -> None:
    targets = set(re.findall(r"^([\w$()/.-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path in WORKFLOWS:
        for words in re.findall(r"run: make ([^\n|]+)", path.read_text(encoding="utf-8")):
            asked = {word.replace(".venv", "$(VENV)") for word in shlex.split(words) if "=" not in word}
            assert asked <= targets, path.name


def test_hooks_have_the_versions_of_the_environment() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    for hook in hooks:
        for needed in hook.get("additional_dependencies", ()):
            name, _, version = needed.partition("==")
            assert version, needed
            assert PINNED.get(name, version) == version, needed


def test_what_tests_need_is_pinned() -> None:
    needed = {
        re.split(r"[<>=;\[ ]", need)[0].lower() for group in PROJECT["dependency-groups"].values() for need in group
    }
    assert needed - {name.lower() for name in PINNED} == set()


def test_contributing_has_every_package_with_a_line_of_its_own() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = page.partition("## Packages")[2].partition("```text\n")[2].partition("```")[0]
    package = ROOT / "pytest_evals"
    there = {path.name for path in package.iterdir() if (path / "__init__.py").exists()}
    there |= {path.stem for path in package.glob("*.py") if not path.stem.startswith("__")}
    there |= {path.parent.name for path in package.glob("engines/transformers/*/__init__.py")}
    names = {word.rstrip("/") for line in tree.splitlines() for word in re.split(r"\s{2,}", line.strip())[0].split()}
    assert there - names == set(), "not in the tree"
    assert names - there - {"checkpoints", "openai", "ray", "transformers"} == set(), "not in the package"
