"""The energies of connectivity, shortest path and Sudoku: numbers of the published code, the plain layers, and what they refuse.

Tolerances as in test_reference.py: 1e-6 relative in float64, 1e-5 in float32.
"""

import numpy as np
import pytest
import torch

from conftest import DATA, reference_weights
from discrete_energies import PlainConnectivity, PlainShortestPath
from ired_interp.energy import CandidateEnergy, ConnectivityEnergy, ShortestPathEnergy, SudokuEnergy
from ired_interp.energy.edge_extremes import chosen_sum
from ired_interp.errors import InputError
from ired_interp.schedule import Schedule

DOUBLE, SINGLE = torch.float64, torch.float32
TOLERANCE = {DOUBLE: 1e-6, SINGLE: 1e-5}
PUBLISHED = {
    "connectivity_12": (ConnectivityEnergy, 1),
    "connectivity_12_gain": (ConnectivityEnergy, 4),
    "connectivity_18": (ConnectivityEnergy, 1),
    "shortest_path_15": (lambda: ShortestPathEnergy(time_shift="published"), 1),
    "shortest_path_20": (lambda: ShortestPathEnergy(time_shift="published"), 1),
    "sudoku_32": (lambda: SudokuEnergy(width=32), 1),
}


def reference(name):
    numbers = np.load(DATA / "discrete" / f"{name}.npz")
    return {key: torch.from_numpy(numbers[key]) for key in numbers.files}


@pytest.fixture(scope="module", params=PUBLISHED)
def stored(request):
    make, gain = PUBLISHED[request.param]
    energy = make()
    reference_weights(energy, gain)
    return energy, reference(request.param)


def noised(n, answer, eps):
    schedule, k = Schedule().double(), n["t"].long()
    y = schedule.noised(n[answer].double(), k, n[eps])
    return torch.where(n["mask"], schedule.signal[k, None] * n["y"], y) if "mask" in n else y


def relative(found, expected):
    found, expected = found.detach().double(), expected.double()
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("dtype", [DOUBLE, SINGLE], ids=str)
def test_energy_and_gradient_are_the_published_ones(stored, dtype):
    energy, n = stored[0].to(dtype), stored[1]
    x, y, k = n["x"].to(dtype), noised(n, "y", "eps").to(dtype), n["t"].long()
    found, gradient = energy.energy_and_gradient(x, y, k)
    assert relative(found, n["energy"]) < TOLERANCE[dtype]
    # Where two nodes lie within float32's rounding they share what float64 gives to one of them.
    near = dtype == SINGLE and isinstance(energy, ShortestPathEnergy)
    few = gradient.numel() // 50 if near else 0
    differences = (gradient.detach().double() - n["grad_y"].double()).abs().flatten().sort().values
    kept = differences[: len(differences) - few]
    assert float(kept.norm() / n["grad_y"].double().norm()) < TOLERANCE[dtype]
    for answer, name in (("y", "energy_positive"), ("wrong", "energy_negative")):
        if name in n:
            found = energy(x, noised(n, answer, "contrast_eps").to(dtype), k)
            assert relative(found, n[name]) < TOLERANCE[dtype]


@pytest.mark.process
def test_so_is_the_energy_of_sudoku_at_its_full_size():
    with torch.device("meta"):
        energy = SudokuEnergy()
    energy = energy.to_empty(device="cpu")
    reference_weights(energy)
    n = reference("sudoku_384")
    found, gradient = energy.energy_and_gradient(
        n["x"].float(), noised(n, "y", "eps").float(), n["t"].long()
    )
    assert relative(found, n["energy"]) < 1e-5
    assert relative(gradient, n["grad_y"]) < 1e-5


def graphs(n, channels=1, solution=None):
    generator = torch.Generator().manual_seed(n)
    size = solution or n * n
    x = torch.randn(3, channels * n * n, generator=generator, dtype=DOUBLE).sign()
    return x, torch.randn(3, size, generator=generator, dtype=DOUBLE), torch.tensor([0, 4, 9])


@pytest.mark.parametrize("clamped", [False, True], ids=["no ties", "ties"])
@pytest.mark.parametrize(
    ("plain", "fast", "n"),
    [
        (PlainConnectivity, ConnectivityEnergy, 2),
        (PlainConnectivity, ConnectivityEnergy, 5),
        (lambda: PlainShortestPath("published"), lambda: ShortestPathEnergy("published"), 2),
        (lambda: PlainShortestPath("published"), lambda: ShortestPathEnergy("published"), 7),
        (lambda: PlainShortestPath("corrected"), ShortestPathEnergy, 5),
        (lambda: PlainConnectivity(residual=True), lambda: ConnectivityEnergy(residual=True), 4),
        (lambda: PlainShortestPath(residual=True), lambda: ShortestPathEnergy(residual=True), 4),
        (lambda: PlainConnectivity(compositions=2), lambda: ConnectivityEnergy(compositions=2), 2),
        (lambda: PlainConnectivity(compositions=2), lambda: ConnectivityEnergy(compositions=2), 5),
        (lambda: PlainShortestPath(blocks=4), lambda: ShortestPathEnergy(blocks=4), 4),
    ],
)
def test_the_factorised_form_is_the_plain_one_in_value_and_every_derivative(
    plain, fast, n, clamped
):
    plain, fast = plain(), fast()
    path = isinstance(fast, ShortestPathEnergy)
    x, y, k = graphs(n, 4, 8 * n) if path else graphs(n)
    if clamped:
        y = y.clamp(-0.5, 0.5)
    found = []
    for energy in (plain, fast):
        reference_weights(energy, 2.0)
        energy.double()
        value, gradient = energy.energy_and_gradient(x, y, k)
        loss = (gradient - x[:, : y.shape[1]].mean()).square().mean() + value.mean()
        weights = [p for name, p in energy.named_parameters() if name != "fc.bias"]
        of_weights = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
        found.append((value, gradient, *of_weights))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_steps_share_a_gradient_also_where_rounding_tells_their_nodes_apart():
    """Products of equal rows differ in their last bits, on some processors by the row's place."""
    ulp = torch.finfo(DOUBLE).eps
    column = torch.tensor([1.0, 1 + ulp, 1 - ulp / 2, 1 - 1e-9], dtype=DOUBLE).view(1, 1, 4, 1)
    column.requires_grad_()
    chosen_sum(
        torch.zeros_like(column), column, torch.zeros(1, 4, 4, 1, dtype=DOUBLE)
    ).sum().backward()
    shares = torch.tensor([4.0, 4.0, 4.0, 0.0], dtype=DOUBLE) / 3
    torch.testing.assert_close(column.grad.flatten(), shares)


def test_compositions_begin_as_nothing_and_let_far_pairs_hear_of_an_edge():
    """How many of the pairs of a path's nodes are told that its last edge is gone."""
    n, (x, y) = 12, (-torch.ones(2, 144, dtype=DOUBLE), torch.zeros(2, 144, dtype=DOUBLE))
    path = x.view(2, n, n)
    path[0].diagonal(1).fill_(1.0), path[0].diagonal(-1).fill_(1.0)
    path[1] = path[0]
    path[1, n - 2, n - 1] = path[1, n - 1, n - 2] = -1.0  # the last edge is gone
    first = ConnectivityEnergy().double()
    reach = {}
    for compositions in (0, 1):
        torch.manual_seed(0)
        energy = ConnectivityEnergy(compositions=compositions).double()
        energy.load_state_dict(first.state_dict(), strict=False)
        assert torch.equal(energy(x, y, 3), first(x, y, 3))
        for layer in energy.compositions:
            torch.nn.init.normal_(layer.outlet.weight)
        context = energy.condition(x, torch.tensor([3, 3]))
        output = energy.output(context, y).view(2, n, n)
        told = (output[0] != output[1])[
            :, : n - 1
        ]  # of pairs with the last node but one and before
        reach[compositions] = int(told.sum())
    assert reach[0] < 40  # those of its nodes, and those near it
    assert reach[1] == n * (n - 1)


@pytest.mark.parametrize(
    ("energy", "x", "solution"),
    [
        (ConnectivityEnergy(), torch.ones(2, 16), 16),
        (ShortestPathEnergy(), torch.ones(2, 36), 24),
        (SudokuEnergy(64, 64, width=4), -torch.ones(2, 64), 64),
        (CandidateEnergy(64, 64, width=4, blocks=2), -torch.ones(2, 64), 64),
    ],
)
def test_the_hessian_is_the_slope_of_the_gradient(energy, x, solution):
    reference_weights(energy, 2.0)
    energy, x = energy.double(), x.double()
    y = torch.randn(2, solution, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    found, step = energy.hessian(x, y, 3), 1e-6 * torch.eye(solution, dtype=DOUBLE)
    slopes = [energy.gradient(x, y + e, 3) - energy.gradient(x, y - e, 3) for e in step]
    torch.testing.assert_close(
        found, torch.stack(slopes, 1) / 2e-6, rtol=0, atol=1e-7 * float(found.abs().max())
    )


def test_the_published_plan_is_steps_that_never_meet_and_the_corrected_one_is_not():
    x, y, _ = graphs(6, 4, 48)
    for shift, meet in (("published", False), ("corrected", True)):
        energy = ShortestPathEnergy(time_shift=shift)
        reference_weights(energy)
        hessian = energy.double().hessian(x[:1], y[:1], 2).view(8, 6, 8, 6)
        assert bool(hessian[3, :, 4].abs().max() > 1e-8) is meet
        assert hessian[0, :, 7].abs().max() == 0


@pytest.mark.parametrize(
    ("energy", "dead"),
    [
        (
            ConnectivityEnergy(),
            {
                "nlm.layers.1.logic.0.layer.0.mlp.0.weight": (0, 64),
                "nlm.layers.1.logic.0.layer.0.mlp.0.bias": (0,),
                "nlm.layers.1.logic.1.layer.0.mlp.0.weight": (32, 96),
                "nlm.layers.1.logic.3.layer.0.mlp.0.bias": (32,),
            },
        ),
        (
            SudokuEnergy(width=4),
            {
                "res1a.time_fc1.weight": (8, 64),
                "attn2.norm.g": (1, 4, 1, 1),
                "attn3.to_out.bias": (4,),
            },
        ),
    ],
)
def test_published_parameters_load_and_those_without_effect_are_dropped(energy, dead):
    state = {name: torch.full_like(value, 0.5) for name, value in energy.state_dict().items()}
    energy.load_state_dict(state | {name: torch.zeros(shape) for name, shape in dead.items()})
    assert all((p == 0.5).all() for p in energy.parameters())
    with pytest.raises(RuntimeError, match="surplus"):
        energy.load_state_dict(state | {"surplus": torch.zeros(1)})


def test_sizes_are_the_published_ones():
    parameters = [
        sum(p.numel() for p in energy.parameters())
        for energy in (ConnectivityEnergy(), ShortestPathEnergy())
    ]
    dead = 32 * 96 + 32 + 32 * 384 + 32
    assert parameters == [52129 - dead, 55937]
    blocks = 6 * (2 * (384 * 384 * 25 + 384) + 64 * 768 + 768)
    rest = 384 * 18 * 9 + 384 + 9 * 384 + 9 + 128 * 64 + 64 + 64 * 64 + 64
    attention = 3 * (384 + 1536 * 384 + 512 * 384 + 384)
    assert blocks + rest + 6 * (64 * 768 + 768) + attention == 47280521
    with torch.device("meta"):
        assert sum(p.numel() for p in SudokuEnergy().parameters()) == blocks + rest


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: ConnectivityEnergy()(torch.ones(2, 15), torch.ones(2, 15), 0),
            r"x has shape \(2, 15\), but ConnectivityEnergy takes graphs of n nodes",
        ),
        (
            lambda: ConnectivityEnergy()(torch.ones(2, 16), torch.ones(2, 25), 0),
            r"y has shape \(2, 25\), but this ConnectivityEnergy takes \(batch, 16\)",
        ),
        (
            lambda: ShortestPathEnergy()(torch.ones(2, 16), torch.ones(2, 15), 0),
            r"y has shape \(2, 15\), but this ShortestPathEnergy takes \(batch, 16\)",
        ),
        (
            lambda: ConnectivityEnergy(1600, 160),
            "condition_dim=1600 and solution_dim=160, the sizes of no graph",
        ),
        (lambda: ShortestPathEnergy(solution_dim=161), "solution_dim=161, the sizes of no graph"),
        (lambda: ShortestPathEnergy("fixed"), "time_shift='fixed'; choose one of published"),
        (lambda: SudokuEnergy(730, 730), "condition_dim=730 and solution_dim=730; it takes boards"),
        (lambda: SudokuEnergy(width=0), "width=0"),
        (lambda: CandidateEnergy(27, 27), "condition_dim=27 and solution_dim=27; it takes boards"),
        (lambda: CandidateEnergy(blocks=0), "blocks=0"),
        (lambda: ConnectivityEnergy(compositions=-1), "compositions=-1; it must be 0 or more"),
        (lambda: ShortestPathEnergy(blocks=0), "blocks"),
        (
            lambda: SudokuEnergy(width=2)(torch.ones(1, 64), torch.ones(1, 64), 0),
            r"x has shape \(1, 64\), but this SudokuEnergy takes \(batch, 729\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(call, words):
    with pytest.raises(InputError, match=words):
        call()


@pytest.fixture
def candidates():
    """An energy of 4 × 4 boards, two of them, and candidates."""
    energy = CandidateEnergy(64, 64, width=6, blocks=2)
    reference_weights(energy, 2.0)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 2, 64, generator=generator, dtype=DOUBLE)
    return energy.double(), x.sign(), y


CELLS = torch.arange(16).view(4, 4)
SYMMETRIES = {
    "rows of a band": CELLS[[1, 0, 2, 3]],
    "columns of a stack": CELLS[:, [0, 1, 3, 2]],
    "bands": CELLS[[2, 3, 0, 1]],
    "transposed": CELLS.T,
    "digits": CELLS,
}


@pytest.mark.parametrize("name", SYMMETRIES)
def test_what_keeps_the_rules_of_sudoku_keeps_the_energy_of_candidates(candidates, name):
    energy, x, y = candidates
    digits = [2, 0, 3, 1] if name == "digits" else [0, 1, 2, 3]

    def changed(board):
        return board.view(2, 16, 4)[:, SYMMETRIES[name].flatten()][:, :, digits].flatten(1)

    found, gradient = energy.energy_and_gradient(x, y, 4)
    there = energy.energy_and_gradient(changed(x), changed(y), 4)
    torch.testing.assert_close(there, (found, changed(gradient)), rtol=1e-10, atol=1e-12)


def test_rows_of_two_bands_are_not_changed_for_each_other(candidates):
    energy, x, y = candidates
    rows = CELLS[[2, 1, 0, 3]].flatten()
    there = [board.view(2, 16, 4)[:, rows].flatten(1) for board in (x, y)]
    assert (energy(*there, 4) - energy(x, y, 4)).abs().min() > 1e-4


def test_one_block_tells_a_candidate_of_those_that_exclude_it_and_of_no_other(candidates):
    energy, x, y = candidates
    del energy.blocks[1]
    k = torch.tensor([4, 4])
    logits = torch.func.jacrev(lambda y: energy.logits(energy.condition(x, k), y)[0])(y)[..., 0, :]
    seen = logits.abs().view(16, 4, 16, 4)[5, 2] > 0
    row, column = CELLS // 4, CELLS % 4
    shared = (row == 1) | (column == 1) | ((row < 2) & (column < 2))
    expected = shared.flatten()[:, None] & (torch.arange(4) == 2)
    expected[5] = True
    assert torch.equal(seen, expected)


@pytest.mark.parametrize(
    "energy",
    [
        ConnectivityEnergy(16, 16, residual=True),
        ShortestPathEnergy(condition_dim=64, solution_dim=32, residual=True),
        SudokuEnergy(64, 64, width=6, residual=True),
        CandidateEnergy(64, 64, width=6, blocks=1),
    ],
    ids=lambda energy: energy.name,
)
def test_the_residual_form_is_the_distance_from_an_answer_that_its_outputs_are_logits_of(energy):
    """Outputs sure of an answer make the bowl around it, exactly: E, gradient and Hessian."""
    energy.double()
    choices = 1 if energy.name == "connectivity" else 4
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, energy.condition_dim, generator=generator, dtype=DOUBLE).sign()
    y = torch.randn(2, energy.solution_dim, generator=generator, dtype=DOUBLE)
    if choices == 1:
        answer = torch.randn(y.shape, generator=generator, dtype=DOUBLE).sign()
    else:
        chosen = torch.randint(choices, (2, y.shape[1] // choices), generator=generator)
        answer = (2 * torch.nn.functional.one_hot(chosen, choices) - 1).flatten(1).double()
    sure = lambda context, y: 40 * answer[: len(y)] + 0 * y  # noqa: E731  (±40: to rounding)
    setattr(energy, "logits" if isinstance(energy, CandidateEnergy) else "output", sure)
    schedule, k = Schedule().double(), 3
    signal, noise = schedule.signal[k], schedule.noise[k]
    residual = y - signal * answer
    found, gradient = energy.energy_and_gradient(x, y, k)
    torch.testing.assert_close(found, residual.square().sum(1) / (2 * noise))
    torch.testing.assert_close(gradient, residual / noise)
    hessian = energy.hessian(x[:1], y[:1], k)[0]
    torch.testing.assert_close(hessian, torch.eye(y.shape[1], dtype=DOUBLE) / noise)


def made(make, residual):
    return (
        make(64, 64, width=6, residual=residual)
        if make is SudokuEnergy
        else make(residual=residual)
    )


@pytest.mark.parametrize("make", [ConnectivityEnergy, ShortestPathEnergy, SudokuEnergy])
def test_both_forms_have_the_published_parameters(make):
    names = [
        {name: p.shape for name, p in made(make, residual).state_dict().items()}
        for residual in (False, True)
    ]
    assert names[0] == names[1]
