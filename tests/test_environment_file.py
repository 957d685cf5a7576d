"""environment.yml offers conda users the releases of requirements.txt."""

import re
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib", "python-playwright": "playwright"}


def pinned():
    """Package -> the exact versions of requirements.txt; some differ between Python versions."""
    versions = {}
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            versions.setdefault(canonicalize_name(requirement.name), []).append(str(requirement.specifier)[2:])
    return versions


def offered():
    """Package -> the range in environment.yml, conda's `1.2.*` written as pip's `==1.2.*`."""
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    lines = [entry for entry in entries if isinstance(entry, str)]
    lines += [line for entry in entries if isinstance(entry, dict) for line in entry["pip"]]
    found = {}
    for name, _, spec in (re.sub(r" +", " ", line).partition(" ") for line in lines if not line.startswith("--")):
        exact = re.fullmatch(r"[\d.]+(\.\*)?", spec)
        found[canonicalize_name(CONDA_NAMES.get(name, name))] = SpecifierSet(f"=={spec}" if exact else spec)
    return found


@pytest.mark.parametrize("package", sorted(set(offered()) - {"python", "pip"}))
def test_the_conda_range_holds_the_pinned_release(package):
    versions = pinned()[package]
    assert all(version in offered()[package] for version in versions), (versions, offered()[package])


def test_conda_users_get_every_direct_dependency():
    text = (ROOT / "pyproject.toml").read_text()
    required = {
        canonicalize_name(Requirement(line).name)
        for block in re.findall(r"^(?:dependencies|book|test) = \[\n(.*?)^\]", text, re.M | re.S)
        for line in re.findall(r'^  "([^"]+)"', block, re.M)
    }
    assert len(required) > 30 and sorted(required - set(offered())) == []
