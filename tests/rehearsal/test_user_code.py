"""Errors in the user's own modules are shown at their line."""

import json

import pytest

from ired_interp.rehearsal.fault import explain
from rehearsals import SMALL, energy, failure


@pytest.mark.parametrize(
    ("class_path", "words"),
    [
        ("nowhere.Bowl", "No module named 'nowhere'"),
        ("ired_interp.tasks.MLPEnergy", "module 'ired_interp.tasks' has no attribute 'MLPEnergy'"),
        (
            "ired_interp.energy.MLPEnergie",
            "module 'ired_interp.energy' has no attribute 'MLPEnergie'",
        ),
        ("importing.Bowl", "cannot import name 'NoEnergy' from 'ired_interp.energy'"),
        ("importing.Bowl", "importing.py:12: from ired_interp.energy import NoEnergy"),
    ],
)
def test_imports_that_fail_are_named(user_module, class_path: str, words: str):
    file = user_module(
        "importing", "from ired_interp.energy import NoEnergy\nclass Bowl(NoEnergy): pass\n"
    )
    assert file.read_text().splitlines()[11] == "from ired_interp.energy import NoEnergy"
    check, message = failure("fit", *SMALL[:2], "--model.energy", class_path)
    assert check == "configuration"
    assert words in message


def test_an_error_in_a_constructor_is_shown_at_its_line(user_module):
    file = user_module("constructing", energy().replace("self.kept = []", "self.kept = len(3)"))
    check, message = failure("fit", *SMALL[:2], "--model.energy", "constructing.Bowl")
    line = file.read_text().splitlines().index("        self.kept = len(3)") + 1
    assert check == "configuration"
    assert message.startswith("TypeError: object of type 'int' has no len()")
    assert f"{file}:{line}: self.kept = len(3)" in message


@pytest.mark.parametrize(
    ("place", "check"),
    [("import", "configuration"), ("constructor", "configuration"), ("evaluate", "energy")],
)
def test_an_exit_is_a_failed_check_at_its_line(user_module, place: str, check: str):
    leave = "raise SystemExit(3)"
    text = {
        "import": f"{leave}\n" + energy(),
        "constructor": energy().replace("self.kept = []", leave),
        "evaluate": energy(leave),
    }[place]
    file = user_module(f"leaving_{place}", text)
    found, message = failure("fit", *SMALL[:2], "--model.energy", f"leaving_{place}.Bowl")
    line = [text.strip() for text in file.read_text().splitlines()].index(leave) + 1
    assert found == check
    assert f"SystemExit: 3 ({file}:{line}: {leave})" in message


def test_an_error_names_the_users_line_behind_a_librarys():
    try:
        try:
            json.loads("{")
        except ValueError as error:
            raise KeyError("wrapped") from error
    except KeyError as error:
        found, remedy = explain(error)
    assert found.startswith("JSONDecodeError")
    assert f"{__file__}:" in found
    assert 'json.loads("{")' in found
    assert remedy
