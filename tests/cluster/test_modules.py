"""Modules that do not exist are noticed before a job is queued, where the host has modules."""

from pathlib import Path

import pytest

from ired_interp.cluster.host import Host
from ired_interp.cluster.preflight.check import Check
from ired_interp.cluster.preflight.destination import module_check
from ired_interp.cluster.profile import Profile
from ired_interp.cluster.repository import Repository
from ired_interp.cluster.site import Site

pytestmark = pytest.mark.process

LMOD = """module() { [[ $2 == known ]] && return
echo "Lmod has detected the following error: The following module(s) are unknown: \\"$2\\"" >&2
echo "Please check the spelling or version number." >&2; return 1; }"""
ENVIRONMENT_MODULES = """module() { [[ $2 == known ]] && return
echo "ModuleCmd_Load.c(213):ERROR:105: Unable to locate a modulefile for '$2'" >&2; }"""


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Check a profile's modules on a login node whose login shell is set up so."""

    def run(profile: str, *modules: str) -> Check | None:
        (tmp_path / ".bash_profile").write_text(profile)
        monkeypatch.setenv("HOME", str(tmp_path))
        site = Site(Host(), Profile(modules=modules), Repository(tmp_path, ""), str(tmp_path))
        return next(module_check(site), None)

    return run


@pytest.mark.parametrize("system", [LMOD, ENVIRONMENT_MODULES], ids=["Lmod", "Environment Modules"])
def test_an_unknown_module_is_named(check, system: str):
    found = check(system, "known", "nope/1.2")
    assert (found.name, found.ok) == ("modules", False)
    assert "nope/1.2" in found.found
    assert "correct modules in the profile" in found.remedy
    assert check(system, "known").ok
    assert check(system) is None


def test_where_there_are_no_modules_the_node_is_asked(check):
    found = check("", "known")
    assert found.ok
    assert "only a node can tell: see --try-node" in found.found
