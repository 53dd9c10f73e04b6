"""The dry run of probes: their settings are tried, however small the rehearsal."""

from pathlib import Path

import pytest

from rehearsals import SMALL, checks, failure, passed, probes_file


def test_an_unknown_keyword_of_a_probe(user_module, tmp_path: Path):
    added = probes_file(tmp_path, "ired_interp.callbacks.HessianSpectrum", colour=3)
    assert failure("fit", *SMALL, *added)[1].startswith(
        "the configuration is not valid: trainer.callbacks.colour does not exist"
    )
    check, message = failure("probe", "--ckpt", "runs", *added)
    assert check == "arguments"
    assert "colour does not exist; choose from" in message


def test_a_setting_that_a_probe_refuses_is_found_whatever_is_made_smaller(
    user_module, tmp_path: Path
):
    added = probes_file(tmp_path, "ired_interp.callbacks.HessianSpectrum", landscapes=[0, 3, 12])
    check, message = failure("fit", *SMALL, *added)
    assert check == "training"
    assert "this model has 0 to 9" in message
    added = probes_file(tmp_path, "ired_interp.callbacks.SubspaceDrift", p=4)
    assert "p=4 dimensions fill their space of 4" in failure("fit", *SMALL, *added)[1]


OWN_PROBE = """
class Odd(Probe):
    name = "odd"
    def __init__(self, least: int = 4) -> None:
        self.least = least
    def __call__(self, snapshot):
        import xarray as xr
        from ired_interp.errors import InputError
        if len(snapshot.batch.y) < self.least:
            raise InputError(f"odd needs {self.least} problems")
        BODY
        return xr.Dataset({"odd": 1.0})

class OddCallback(ProbeCallback):
    def __init__(self, every_n_steps: int = 1000, problems: int = 32, least: int = 4) -> None:
        super().__init__(Odd(least), every_n_steps, "raw", problems)
"""


@pytest.mark.process
def test_a_probe_that_needs_more_problems_gets_those_it_is_configured_with(
    user_module, tmp_path: Path
):
    user_module("needing", OWN_PROBE.replace("BODY", "pass"))
    passed(
        checks(["fit", *SMALL, *probes_file(tmp_path, "needing.OddCallback", least=9, problems=9)])
    )
    check, message = failure(
        "fit", *SMALL, *probes_file(tmp_path, "needing.OddCallback", least=9, problems=8)
    )
    assert check == "training"
    assert "odd at step 3 failed: odd needs 9 problems" in message


@pytest.mark.process
def test_a_probe_that_fails(user_module, tmp_path: Path):
    user_module("failing", OWN_PROBE.replace("BODY", 'raise RunError("odd cannot be measured.")'))
    check, message = failure("fit", *SMALL, *probes_file(tmp_path, "failing.OddCallback"))
    assert check == "training"
    assert "odd at step 3 failed: odd cannot be measured." in message
    text = OWN_PROBE.replace("BODY", "snapshot.batch.x.eigenvalues()")
    file = user_module("raising", text.replace('name = "odd"', 'name = "raising"'))
    message = failure("fit", *SMALL, *probes_file(tmp_path, "raising.OddCallback"))[1]
    assert message.startswith("AttributeError: 'Tensor' object has no attribute 'eigenvalues'")
    assert f"{file}:" in message
