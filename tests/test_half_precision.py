"""A trained energy in half precision is read like the run that it comes from."""

from pathlib import Path

import pytest
import torch

import ired_interp as ii
from conftest import Ired, Trained
from ired_interp import half_precision
from ired_interp.checkpoint import read_checkpoint
from ired_interp.checkpoint_file import CONFIG_KEY
from ired_interp.checkpoint_io import AtomicCheckpointIO
from ired_interp.errors import InputError
from ired_interp.half_precision import halve
from ired_interp.results import Run
from ired_interp.results.publication import Places


def test_a_published_energy_is_probed_tested_and_loaded_as_a_run(
    ired: Ired, tiny_run: Path
) -> None:
    assert ired("test", "--ckpt", tiny_run)[0] == 0
    code, out, err = ired("publish", tiny_run, "--to", "energies/inverse", "--energy")
    assert code == 0
    assert "MB written to energies/inverse" in out
    assert "in half precision the energy changes by" in err
    assert "still" not in err  # no place of this machine is left
    copy = Run(Path("energies/inverse"))
    assert {file.parent.name for file in copy.result_files()} == {"test_error"}
    (file,) = copy.checkpoints.iterdir()
    content = torch.load(file, weights_only=True)
    assert str(tiny_run.parents[1]) not in content[CONFIG_KEY]
    assert file.stat().st_size < 0.25 * (tiny_run / "checkpoints" / file.name).stat().st_size

    half, whole = ii.load("energies/inverse"), ii.load(tiny_run)
    for (name, one), other in zip(half.named_parameters(), whole.parameters(), strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=2**-11, atol=2**-25, msg=name)
    probe = "hessian_spectrum: {landscapes: [9]}"
    code, out, err = ired("probe", "--ckpt", "energies/inverse", "--probes", probe)
    assert code == 0, err
    assert ired("test", "--ckpt", "energies/inverse")[0] == 0
    code, _, err = ired("test", "--ckpt", "energies/inverse", "--weights", "raw")
    assert code == 2
    assert "holds averaged weights alone" in err
    code, _, err = ired("publish", tiny_run, "--to", "energies/inverse", "--energy")
    assert code == 2
    assert "nothing is overwritten" in err


def test_the_change_that_is_said_is_that_of_the_gradient(trained: Trained) -> None:
    run = Run(trained())
    checkpoint = read_checkpoint(run.path)
    content, change = halve(checkpoint, Places([run]))
    module, data = checkpoint.build()
    x, y, *_ = data.evaluation_batch("probe", "same", 0, 32, "cpu")  # type: ignore[union-attr]
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    shares = []
    for k in range(10):
        signal, sigma = module.schedule.signal[k], module.schedule.noise[k]  # type: ignore[union-attr, index]
        at = signal * y + sigma * noise
        found = []
        for state in (checkpoint.state("average"), content["state_dict"]):
            module.load_state_dict(state)
            found.append(module.energy.gradient(x, at, k).detach())  # type: ignore[operator, union-attr]
        shares.append(float((found[1] - found[0]).norm() / found[0].norm()))
    assert change.gradient == pytest.approx(max(shares), rel=1e-4)
    assert 0 < change.gradient < 2**-8


def test_what_half_precision_would_spoil_is_refused(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(trained())
    checkpoint = read_checkpoint(run.path)
    monkeypatch.setattr(half_precision, "TOLERANCE", 1e-6)
    with pytest.raises(InputError, match="half precision changes the energy of"):
        halve(checkpoint, Places([run]))
    name = next(n for n in checkpoint.content["state_dict"] if n.endswith("weight"))
    for value, sentence in ((1e5, f"beyond 65504.*in {name}"), (torch.nan, "diverged: ")):
        checkpoint.content["state_dict"][name][0] = value
        AtomicCheckpointIO().save_checkpoint(checkpoint.content, tmp_path / f"{value}.ckpt")
        with pytest.raises(InputError, match=sentence):
            halve(read_checkpoint(tmp_path / f"{value}.ckpt"), Places([run]))
