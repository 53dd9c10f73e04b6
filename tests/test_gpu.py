"""What the CPU tests cannot see: the same numbers on a GPU, captured steps, and a run that goes on there. Skipped where there is no GPU."""

import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torch.utils.checkpoint

from conftest import TINY, Ired, reference_weights
from ired_interp import geometry, spectra
from ired_interp.callbacks import ReplayedSteps
from ired_interp.capture import Capture
from ired_interp.diffusion import Noise, Objective, Schedule
from ired_interp.energy import MLPEnergy
from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.probes import HessianSpectrumY, Probe, Snapshot
from ired_interp.random import stream
from ired_interp.results import Run, read_result
from ired_interp.spectra import cusolver
from ired_interp.tasks import Inverse
from ired_interp.tasks.base import Problems

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


@pytest.fixture
def problem():
    energy = MLPEnergy(16, 16, 32)
    reference_weights(energy)
    problems = Inverse(4).sample(64, stream("cpu", 0))
    return energy, problems, Noise.draw(64, 16, 10, stream("cpu", 1))


def loss_and_gradients(energy, problems, noise, device, compiled=False):
    energy, schedule = energy.to(device), Schedule().to(device)

    def loss(x, y, *draws):
        return Objective()(energy, schedule, x, y, Noise(*draws)).total

    if compiled:
        loss = torch.compile(loss, dynamic=False, mode="reduce-overhead")
    value = loss(*(t.to(device) for t in problems), *(t.to(device) for t in noise))
    return [
        value.detach().cpu(),
        *(g.cpu() for g in torch.autograd.grad(value, list(energy.parameters()))),
    ]


@pytest.mark.parametrize("compiled", [False, True])
def test_loss_and_gradients_are_the_cpus(problem, compiled):
    expected = loss_and_gradients(*problem, "cpu")
    for found, truth in zip(loss_and_gradients(*problem, "cuda", compiled), expected, strict=True):
        torch.testing.assert_close(
            found, truth, rtol=1e-4, atol=1e-5
        )  # float32 sums in another order


def test_spectra_are_the_cpus(problem):
    energy, (x, y), _ = problem
    module = IREDModule(energy)
    expected = HessianSpectrumY(point="answer")(Snapshot(module, Problems(x[:8], y[:8])))
    found = HessianSpectrumY(point="answer")(
        Snapshot(module.cuda(), Problems(x[:8].cuda(), y[:8].cuda()))
    )
    scale = float(abs(expected["eigenvalues"]).max())
    assert float(abs(found["eigenvalues"] - expected["eigenvalues"]).max()) < 1e-4 * scale


@pytest.mark.parametrize("compiled", [False, True])
def test_a_resumed_run_is_the_same_run(ired: Ired, tmp_path, compiled):
    torch.compiler.reset()  # every run has a process of its own in use; here several share one
    options = [
        *TINY,
        "--trainer.accelerator",
        "gpu",
        "--model.compile",
        compiled,
        "--model.lr_schedule",
        "constant",
    ]
    for name, steps in (("short", 8), ("long", 12)):
        code, _, err = ired("fit", *options, "--trainer.max_steps", steps, "--name", name)
        assert code == 0, err
    runs = tmp_path / "runs" / "quickstart"
    torch.compiler.reset()
    code, _, err = ired("fit", "--resume", runs / "short", "--trainer.max_steps", 12)
    assert code == 0, err
    ends = [
        torch.load(runs / n / "checkpoints" / "last.ckpt", weights_only=True)
        for n in ("short", "long")
    ]
    for key in ("state_dict", "current_model_state"):
        for weight, value in ends[0][key].items():
            torch.testing.assert_close(value, ends[1][key][weight], rtol=1e-5, atol=1e-7)


def test_lanczos_density_and_trace_are_the_cpus(problem):
    """Also with the basis kept in host memory. Float32 sums in another order: eigenvalues to 1e-4 of the largest."""
    energy, (x, y), noise = problem

    def operator(device):
        model, schedule = deepcopy(energy).to(device), Schedule().to(device)
        data = [t.to(device) for t in (x, schedule.cpu().noised(y, noise.k, noise.eps), noise.k)]
        return spectra.HessianOperator(lambda rows: model(*rows).mean(), model, batch=tuple(data))

    truth = spectra.lanczos(operator("cpu"), 6, "BE", 1e-4, progress=False)
    scale = float(truth.eigenvalues.abs().max())
    for storage in (None, "cpu"):
        found = spectra.lanczos(operator("cuda"), 6, "BE", 1e-4, storage=storage, progress=False)
        assert found.converged.all()
        torch.testing.assert_close(found.eigenvalues, truth.eigenvalues, rtol=0, atol=1e-4 * scale)
    density = spectra.density(operator("cuda"), 3, 20, progress=False)
    assert density.moment(0).value == pytest.approx(1)
    trace = spectra.trace(operator("cuda"), 60, progress=False)
    expected = spectra.trace(operator("cpu"), 60, progress=False)
    assert abs(trace.value - expected.value) <= (trace.high - trace.low) + (
        expected.high - expected.low
    )


@pytest.mark.parametrize("training", [True, False])
def test_products_of_recurrent_nets_and_checkpointed_attention_are_the_cpus(training):
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(3, 4, batch_first=True)
    module = torch.nn.ModuleList([lstm, torch.nn.Linear(4, 12), torch.nn.MaxPool1d(2)]).double()
    module.train(training)

    def attention(h):
        q, k, v = h.unflatten(-1, (3, 2, 2)).permute(2, 0, 3, 1, 4)
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    def objective(x):
        h = module[1](module[0](x)[0]).relu()
        mixed = torch.utils.checkpoint.checkpoint(attention, h, use_reentrant=False)
        return module[2](mixed.flatten(0, 1)).square().mean()

    def product(device):
        module.to(device)
        operator = spectra.HessianOperator(objective, module, batch=torch.ones(2, 5, 3).double())
        operator.check()
        return (operator @ torch.ones(operator.shape[0], device=device).double()).cpu()

    expected = product("cpu")
    torch.testing.assert_close(product("cuda"), expected, rtol=1e-8, atol=1e-10)
    assert torch.backends.cudnn.enabled


@pytest.mark.parametrize("batch", [8, 64])
def test_replayed_products_are_the_called_ones(problem, batch):
    """Bit for bit: a recording holds the very kernels of a call."""
    energy, (x, y), noise = problem
    model, schedule = deepcopy(energy).cuda(), Schedule().cuda()
    data = [t[:batch].cuda() for t in (x, y, noise.k, noise.eps)]

    def score(rows):
        x, y, k, eps = rows
        gradient = model.evaluate_with_gradient(model.condition(x, k), schedule.noised(y, k, eps))[
            1
        ]
        return (gradient - eps).square().mean()

    operator = spectra.HessianOperator(score, model, batch=tuple(data))
    v = torch.randn(operator.shape[0], device="cuda")
    called = [operator @ (i * v) for i in range(1, 5)]
    replayed = [operator @ (i * v) for i in range(1, 5)]
    assert operator.plan.endswith("replayed as a CUDA graph")
    assert all(torch.equal(a, b) for a, b in zip(called, replayed, strict=True))
    with torch.no_grad():
        model.fc1.weight.data.add_(1.0)
    with pytest.raises(InputError, match="parameters changed"):
        operator @ v


def test_products_that_wait_for_the_device_are_called():
    w = torch.ones(3, device="cuda", requires_grad=True)

    class Waiting(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return Waits.apply(grad, x)

    class Waits(torch.autograd.Function):
        @staticmethod
        def forward(ctx, grad, x):
            ctx.save_for_backward(grad, x)
            return 3 * x**2 * grad

        @staticmethod
        def backward(ctx, other):
            grad, x = ctx.saved_tensors
            assert bool((x == x).all())  # looks at values
            return 3 * x**2 * other, 6 * x * grad * other

    operator = spectra.HessianOperator(lambda: Waiting.apply(w).sum(), w)
    for _ in range(8):
        found = operator @ torch.ones(3, device="cuda")
    assert "not replayed as a CUDA graph" in operator.plan
    torch.testing.assert_close(found, torch.full((3,), 6.0, device="cuda"))
    assert torch.cuda.current_stream() == torch.cuda.default_stream()


def test_replayed_steps_are_lightnings(ired: Ired, tmp_path, monkeypatch):
    """Nearly all of them, and the run ends where one without recordings does."""
    ends, replayed = [], []
    stepped = ReplayedSteps.stepped

    def noted(self):
        replayed.append(self._draws)
        stepped(self)

    monkeypatch.setattr(ReplayedSteps, "stepped", noted)
    options = [*TINY, "--trainer.accelerator", "gpu", "--model.compile", "true"]
    options += ["--trainer.max_steps", "59", "--trainer.log_every_n_steps", "50"]
    options += ["--trainer.val_check_interval", "30", "--save_every", "40"]
    for name in ("replayed", "stepped"):
        torch.compiler.reset()
        code, _, err = ired("fit", *options, "--name", name)
        assert code == 0, err
        assert "not replayed" not in err
        assert replayed == 54 * [True]  # problems and noise within; all but 1, 30, 40, 50, 59
        monkeypatch.setattr(ReplayedSteps, "covers", lambda self, step: False)
        last = tmp_path / "runs" / "quickstart" / name / "checkpoints" / "last.ckpt"
        ends.append(torch.load(last, weights_only=True))
    for key in ("state_dict", "current_model_state"):
        for weight, value in ends[0][key].items():
            torch.testing.assert_close(value, ends[1][key][weight], rtol=1e-5, atol=1e-7)


def test_eigenvalues_of_many_matrices_are_exact():
    random = torch.randn(40, 30, 30, generator=stream("cpu", 0), dtype=torch.float64)
    matrices = random + random.mT
    known = torch.linalg.eigvalsh(matrices)
    found = spectra.many_eigenvalues(matrices.cuda())
    torch.testing.assert_close(found, known, rtol=0, atol=1e-12)
    values, vectors = spectra.many_eigenpairs(matrices.cuda())
    torch.testing.assert_close(values, known, rtol=0, atol=1e-12)
    vectors = vectors.cpu()
    again = vectors @ torch.diag_embed(values) @ vectors.mT
    torch.testing.assert_close(again, matrices, rtol=0, atol=1e-12)
    assert cusolver.library() is not None


def test_principal_angles_are_the_cpus():
    generator = torch.Generator().manual_seed(0)
    u, v = torch.randn(2, 5000, 4, generator=generator, dtype=torch.float64)
    found = geometry.principal_angles(u.cuda(), v.cuda())
    torch.testing.assert_close(found.cpu(), geometry.principal_angles(u, v), rtol=0, atol=1e-12)


def test_every_probe_and_callback_runs_there(ired: Ired, tmp_path):
    fragments = [
        part
        for path in sorted(Path("callbacks").glob("*.yaml"))
        if path.stem != "demo"  # which names again what others name
        for part in ("--config", path)
    ]
    code, _, err = ired("fit", *TINY, *fragments, "--trainer.accelerator", "gpu", "--name", "a")
    assert code == 0, err
    run = Run(tmp_path / "runs" / "quickstart" / "a")
    results = {file.parent.name: read_result(file) for file in run.result_files()}
    assert len(results) >= 4  # training gradients are read before every 5000th step
    assert not {name: r.attrs["failed"] for name, r in results.items() if "failed" in r.attrs}
    code, _, err = ired(
        "probe",
        "--ckpt",
        run.path,
        "--probes",
        *Probe.registry,
        "--device",
        "cuda",
        "--problems",
        8,
    )
    assert code == 0, err


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_train_and_measure_as_one(tmp_path):
    """By NCCL: batches, in replayed steps, landscapes, and the problems of one where there are enough."""
    module, both = [sys.executable, "-m", "ired_interp"], ["-m", "torch.distributed.run"]
    runs = ["--runs", tmp_path, "--trainer.accelerator", "gpu"]
    for devices in (1, 2):
        place = ["--trainer.devices", devices, "--model.compile", "true", "--name", f"on{devices}"]
        subprocess.run([*map(str, [*module, "fit", *TINY, *runs, *place])], check=True)
    ends = [
        torch.load(tmp_path / f"quickstart/on{n}/checkpoints/last.ckpt", weights_only=True)
        for n in (1, 2)
    ]
    for weight, value in ends[0]["current_model_state"].items():
        found = ends[1]["current_model_state"][weight]
        torch.testing.assert_close(found, value, rtol=1e-3, atol=1e-5)
    # What is left of an eigenvalue's error goes with the square of tol; sums of two cards round differently.
    few = "{landscapes: [0, 5], dtype: float64, eigenpairs: 4, tol: 1.0e-7, trace_matvecs: 8}"
    many = "{landscapes: mixed, dtype: float64, eigenpairs: 4, tol: 1.0e-7, density_probes: 0}"
    for problems, settings in ((16, few), (4096, many)):
        entry = f"probes:\n  - class_path: HessianSpectrumTheta\n    init_args: {settings}\n"
        (tmp_path / "probes.yaml").write_text(entry)
        asked = ["probe", "--ckpt", tmp_path / "quickstart/on1", "--config"]
        asked += [tmp_path / "probes.yaml", "--problems", problems, "--output"]
        launch = [sys.executable, *both, "--nproc-per-node", "2", "-m", "ired_interp"]
        for name, start in (("one", module), ("two", launch)):
            subprocess.run([*map(str, [*start, *asked, tmp_path / name])], check=True)
        one, two = (
            read_result(next((tmp_path / name).rglob("*.nc")))["eigenvalues"]
            for name in ("one", "two")
        )
        assert float(abs(one - two).max()) <= 1e-8 * float(abs(one).max())
        for name in ("one", "two"):
            shutil.rmtree(tmp_path / name)


def test_what_a_recording_still_has_to_write_overwrites_nothing(monkeypatch):
    """The seeds of its generators, which PyTorch writes to memory that goes with the recording."""
    device, wait = torch.device("cuda"), torch.cuda.synchronize
    capture, generator = Capture(device), torch.Generator("cuda")
    own = capture.stream

    def then_busy(*arguments):
        wait(*arguments)
        with torch.cuda.stream(own):
            torch.cuda._sleep(10**9)

    monkeypatch.setattr(torch.cuda, "synchronize", then_busy)
    capture.record(lambda: (torch.rand(4, generator=generator, device="cuda"),), (), (generator,))
    del capture
    kept = [torch.ones(128, device="cuda") for _ in range(64)]
    wait()
    assert all(tensor.eq(1).all() for tensor in kept)
