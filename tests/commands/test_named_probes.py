"""`ired probe --probes` takes names, alone or with settings."""

import pytest

from ired_interp.commands.probe import parse
from ired_interp.commands.probing import chosen_measurements
from ired_interp.errors import InputError


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("minimum: {startz: 8}", "startz does not exist"),
        ("minimum: {problems: many}", "expected a whole number"),
        ("minimum: 8", "gives no settings"),
        ("minimise: {starts: 8}", "'minimise' does not exist"),
    ],
)
def test_settings_of_a_named_probe_are_checked(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        chosen_measurements(None, parse(["--ckpt", "run", "--probes", text]))


def test_a_named_probe_takes_settings_of_its_own() -> None:
    options = parse(["--ckpt", "run", "--probes", "minimum: {starts: 8, problems: 5}", "path"])
    minimum, path = chosen_measurements(None, options)
    assert (minimum.probe.starts, minimum.problems) == (8, 5)  # type: ignore[attr-defined]
    assert (path.probe.label, path.problems) == ("path", 32)
