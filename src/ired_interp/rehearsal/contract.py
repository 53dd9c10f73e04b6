"""What a task and an energy owe the framework.

Tensors of the declared shapes, finite values, one energy per row, and its true gradient.
"""

import torch
from torch import Tensor

from ired_interp.module import IREDModule
from ired_interp.random import stream
from ired_interp.rehearsal.fault import Fault
from ired_interp.solver import SolverModule
from ired_interp.tasks.base import Problems, Variant
from ired_interp.tasks.data import TaskData

FEW = 4  # problems that a rehearsal looks at: some probes compare halves, or at least three
_STEP = 1e-2  # of the finite difference, as a share of ‖y‖
_AUTOGRAD = 1e-3  # share of ‖∇E‖; single precision in another order of operations differs by 1e-5
_DIFFERENCE = 0.02  # share of ‖∇E‖; a central difference is off by the third derivative
_ROWS = 1e-3  # share of the largest energy; rows computed alone differ by rounding, 1e-6


def check_problems(
    data: TaskData, module: SolverModule, variants: list[Variant]
) -> tuple[Problems, str]:
    """Draw a few problems, the last variant's, and say what they are.

    Raises
    ------
    Fault
        If they are not what the model takes.
    """
    weights = [p.dtype for p in module.parameters() if p.is_floating_point()]
    for variant in variants:
        drawn = data.task.sample(FEW, stream("cpu", data.seed, "rehearsal", variant), variant)
        for name, values in zip(("x", "y"), drawn, strict=True):
            if not isinstance(values, Tensor):
                kind = f"{type(values).__module__}.{type(values).__name__}"
                raise Fault(
                    f"{data.task.name} draws {name} as {kind}",
                    "return torch tensors from its sample()",
                )
        problems = data.draw(FEW, "cpu", data.seed, variant, "rehearsal")
        widths = (module.condition_dim, module.solution_dim)
        if isinstance(module, IREDModule) and module.energy.any_size:
            widths = data.task.sizes(variant)
        for name, values, width in zip(("x", "y"), problems, widths, strict=True):
            if values.shape[1] != width:
                raise Fault(
                    f"{data.task.name} draws {name} of {values.shape[1]} entries, but the model "
                    f"takes {width}",
                    "give the task that the model was made for",
                )
            if weights and values.dtype != weights[0]:
                raise Fault(
                    f"{data.task.name} draws {name} as {values.dtype}, but the model's weights "
                    f"are {weights[0]}",
                    f"return {weights[0]} from its sample()",
                )
    dimensions = f"x of {module.condition_dim} and y of {module.solution_dim} entries"
    return (
        problems,
        f"{data.task.name} draws finite {dimensions}, as the model takes them "
        f"({', '.join(variants)})",
    )


def check_energy(module: IREDModule, problems: Problems) -> str:
    """Check for one finite scalar per row in every landscape, which depends on no other row.

    Raises
    ------
    Fault
        If it is anything else.
    """
    for k, x, y in _places(module, problems):
        energy = _energy(module, x, y, k)
        alone = _energy(module, x[:1], y[:1], k)
        if float((energy[:1] - alone).abs()) > _ROWS * float(energy.abs().max()):
            raise Fault(
                f"{_name(module)} gives a row the energy {float(energy[0]):.6g} among others and "
                f"{float(alone):.6g} alone",
                "let each row's energy depend on that row alone",
            )
    return f"{_name(module)} is one finite scalar per row in each of {module.landscapes} landscapes"


def check_gradient(module: IREDModule, problems: Problems) -> str:
    """Check that ∇_y E has y's shape and is finite and right.

    Right is equal to autograd's, and to a central difference of the energy along it.

    Raises
    ------
    Fault
        If it is not.
    """
    worst = 0.0
    for k, x, y in _places(module, problems):
        _, gradient = module.energy_and_gradient(x, y, k)
        if not isinstance(gradient, Tensor) or gradient.shape != y.shape:
            shape = tuple(getattr(gradient, "shape", ()))
            raise Fault(
                f"{_name(module)} returned a gradient of shape {shape} for y of {tuple(y.shape)}",
                "return ∇_y E of y's shape",
            )
        gradient = gradient.detach()
        if not gradient.isfinite().all():
            raise Fault(
                f"the gradient of {_name(module)} is not finite in landscape {k}",
                "look for a division by zero, or the square root of zero",
            )
        automatic = torch.func.grad(lambda y, x=x, k=k: module.energy(x, y, k).sum())(y).detach()
        size = automatic.norm(dim=1)
        off = (gradient - automatic).norm(dim=1)
        _compare(off, _AUTOGRAD * size, size, module, k, "what autograd says of its energy")
        worst = max(worst, float((off / size.clamp_min(torch.finfo(y.dtype).tiny)).max()))
        _against_difference(module, x, y, k, gradient)
    return (
        f"∇_y E of {_name(module)} is finite and agrees with autograd to {max(worst, 1e-7):.0e} "
        f"(allowed {_AUTOGRAD:.0e}) and with a "
        f"central difference (allowed {_DIFFERENCE:.0%})"
    )


def _against_difference(module: IREDModule, x: Tensor, y: Tensor, k: int, gradient: Tensor) -> None:
    size = gradient.norm(dim=1)
    random = torch.randn(y.shape, generator=stream("cpu", 0, "rehearsal", k), dtype=y.dtype)
    along = torch.where((size > 0)[:, None], gradient, random)
    along = along / along.norm(dim=1, keepdim=True)
    h = _STEP * y.norm(dim=1).clamp_min(_STEP)
    after, before = (_energy(module, x, y + sign * h[:, None] * along, k) for sign in (1, -1))
    slope = (after - before) / (2 * h)
    rounding = 8 * torch.finfo(y.dtype).eps * torch.maximum(after.abs(), before.abs()) / h
    _compare(
        (slope - (gradient * along).sum(1)).abs(),
        _DIFFERENCE * torch.maximum(size, slope.abs()) + rounding,
        size,
        module,
        k,
        "a central difference of its energy",
    )


def _compare(
    off: Tensor, allowed: Tensor, size: Tensor, module: IREDModule, k: int, truth: str
) -> None:
    if (off > allowed).any():
        row = int((off - allowed).argmax())
        raise Fault(
            f"the gradient of {_name(module)} differs by {float(off[row]):.3g} from {truth}, of "
            f"size {float(size[row]):.3g}, in "
            f"landscape {k}",
            "correct evaluate_with_gradient, or what evaluate detaches",
        )


def _energy(module: IREDModule, x: Tensor, y: Tensor, k: int) -> Tensor:
    energy = module.energy(x, y, k)
    if not isinstance(energy, Tensor):
        kind = f"{type(energy).__module__}.{type(energy).__name__}"
        raise Fault(
            f"{_name(module)} returned an energy as {kind}",
            "return a torch tensor, without NumPy on the way",
        )
    energy = energy.detach()
    if energy.shape != (len(y),):
        raise Fault(
            f"{_name(module)} returned an energy of shape {tuple(energy.shape)} for {len(y)} rows",
            "return one scalar per row",
        )
    if not energy.isfinite().all():
        raise Fault(
            f"the energy of {_name(module)} is not finite in landscape {k}",
            "look for an overflow, a division by zero or the logarithm of zero",
        )
    return energy


def _places(module: IREDModule, problems: Problems) -> list[tuple[int, Tensor, Tensor]]:
    """Every landscape with its problems, y noised as in training."""
    x, y = problems
    eps = torch.randn(y.shape, generator=stream("cpu", 0, "rehearsal"), dtype=y.dtype)
    levels = range(module.landscapes)
    return [(k, x, module.schedule.noised(y, torch.full((len(y),), k), eps)) for k in levels]


def _name(module: IREDModule) -> str:
    return type(module.energy).__name__
