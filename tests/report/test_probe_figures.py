"""Every probe that the package has gets figures of its own, drawn from what it really measures."""

import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas

from conftest import TINY
from ired_interp.probes import Probe
from ired_interp.report import gather
from ired_interp.report.figure import Figure
from ired_interp.report.figures import FIGURES
from ired_interp.report.style import RC
from ired_interp.results import open_results

pytestmark = pytest.mark.process  # trains and measures for ten seconds

CALLBACKS = """
trainer:
  callbacks+:
    - {class_path: ired_interp.callbacks.HessianSpectrum, init_args: {every_n_steps: 6, problems: 6}}
    - {class_path: ired_interp.callbacks.GradientStatistics, init_args: {every_n_steps: 6, window: 3}}
    - {class_path: ired_interp.callbacks.SubspaceDrift, init_args: {every_n_steps: 6, problems: 6}}
    - {class_path: ired_interp.callbacks.EffectiveRank, init_args: {every_n_steps: 6, problems: 6}}
    - {class_path: ired_interp.callbacks.TangentKernel, init_args: {every_n_steps: 6, problems: 6, landscapes: [0, 5]}}
"""
PROBES = """
probes:
  - {class_path: ired_interp.probes.HessianSpectrumY}
  - class_path: ired_interp.probes.HessianSpectrumTheta
    init_args: {landscapes: mixed, which: BE, eigenpairs: 4, tol: 0.1, density_steps: 10, trace_matvecs: 12, layers: each}
  - class_path: ired_interp.probes.HessianSpectrumTheta
    init_args: {landscapes: [0, 9], which: BE, eigenpairs: 4, tol: 0.1, density_steps: 10, trace_matvecs: 12}
  - {class_path: ired_interp.probes.GradientStatisticsY}
  - {class_path: ired_interp.probes.GradientStatisticsTheta}
  - {class_path: ired_interp.probes.SubspaceDrift, init_args: {axis: landscapes}}
  - {class_path: ired_interp.probes.SubspaceDrift, init_args: {source: solution, axis: inference}}
  - {class_path: ired_interp.probes.InferenceTrajectory}
  - {class_path: ired_interp.probes.Curvature, init_args: {rank: 1}}
  - {class_path: ired_interp.probes.Curvature, init_args: {vectors: 2, landscapes: [0, 9]}}
  - {class_path: ired_interp.probes.Minimum, init_args: {landscapes: [0, 9], starts: 2, steps: 5}}
  - {class_path: ired_interp.probes.Slice, init_args: {landscapes: [0, 9], grid: 3}}
  - {class_path: ired_interp.probes.ThetaSlice, init_args: {grid: 3}}
  - {class_path: ired_interp.probes.Path, init_args: {landscapes: [0, 9], between: problems, band_steps: 2}}
  - {class_path: ired_interp.probes.GradientField}
  - {class_path: ired_interp.probes.Patching}
  - {class_path: ired_interp.probes.Readout, init_args: {samples: 32}}
  - {class_path: ired_interp.probes.Dictionary, init_args: {landscapes: [0, 5], atoms: 8, l0: 2, grid: [1, 2], samples: 64, steps: 3}}
  - {class_path: ired_interp.probes.Dictionary, init_args: {source: error, atoms: 8, l0: 2, samples: 64, steps: 3}}
"""


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Figure]:
    """Figures of a run of 12 steps that every callback and every probe has measured."""
    from ired_interp.cli import main

    folder = tmp_path_factory.mktemp("probed")
    root = Path(__file__).parents[2]
    (folder / "callbacks.yaml").write_text(CALLBACKS)
    (folder / "probes.yaml").write_text(PROBES)
    tiny = [str(root / part) if part.startswith("configs/") else part for part in TINY]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("IRED_RUN_NAME", raising=False)
        for name, extra in (("a", []), ("b", ["--seed_everything", "1"])):
            assert main(["fit", *tiny, "--config", "callbacks.yaml", *extra, "--name", name]) == 0
            assert (
                main(
                    [
                        "probe",
                        "--ckpt",
                        f"runs/quickstart/{name}",
                        "--config",
                        "probes.yaml",
                        "--problems",
                        "8",
                    ]
                )
                == 0
            )
        runs = [open_results(folder / "runs" / "quickstart" / name) for name in "ab"]
    report = gather(runs)
    assert report.skipped == []
    assert [group.name for group in report.groups] == ["a … b (2 runs)"]
    return {figure.name: figure for figure in report.figures}


def test_every_probe_has_figures_of_its_own(figures: dict[str, Figure]) -> None:
    for name in Probe.registry:
        assert any(key.startswith(name) for key in FIGURES), f"{name} is shown as a bare table"
        mine = [figure for key, figure in figures.items() if key.startswith(name)]
        assert mine
        assert all(figure.panels for figure in mine), name


def test_the_section_from_smooth_to_sharp_comes_before_the_probes(
    figures: dict[str, Figure],
) -> None:
    names = list(figures)
    assert names.index("smooth_to_sharp") < names.index("hessian_spectrum_y")
    section = figures["smooth_to_sharp"]
    tables = [figure.table for name, figure in figures.items() if name.startswith("curvature")]
    (mean,) = (table for table in tables if table is not None and len(table) == 10)
    assert "Not measured" not in section.caption
    assert {"σλ", "κN / κT", "⟨g, ε⟩/d", "minimum off y*", "overlap of D", "CKA to k + 1"} <= {
        panel.title for panel in section.panels
    }
    assert section.table is not None
    for title, own in (("dimension", "dimension"), ("κN / κT", "normal / tangent")):
        np.testing.assert_allclose(section.table[title][::-1], mean[own], rtol=1e-9)


def test_planes_of_denoised_answers_stand_beside_those_of_noised_ones(
    figures: dict[str, Figure],
) -> None:
    titles = [panel.title for panel in figures["gradient_field"].panels]
    place = titles.index("plane of the denoised answer")
    assert titles[place + 1] == "plane of the noised answer"


def test_every_label_that_has_figures_was_measured_here(figures: dict[str, Figure]) -> None:
    measured = {key for key in FIGURES if any(name.startswith(key) for name in figures)}
    of_any_module = {"hessian_spectrum_loss", "gradient_statistics_loss"}  # see test_any_module
    assert set(FIGURES) - measured == {"test_error", "validation_error"} | of_any_module


def test_every_panel_shows_more_than_one_value(figures: dict[str, Figure]) -> None:
    for figure in figures.values():
        for panel in figure.panels:
            axes = Canvas().add_subplot()
            panel.draw(axes)
            drawn = [
                line.get_xydata() for line in axes.lines if line.get_transform() == axes.transData
            ]
            points = {tuple(point) for line in drawn for point in line if np.isfinite(point).all()}
            cells = sum(image.get_array().size for image in axes.images)
            areas = len(axes.patches) + len(axes.collections)
            assert len(points) + cells + areas > 1, f"{figure.name}: {panel.title}"


def test_no_label_is_the_name_of_a_variable(figures: dict[str, Figure]) -> None:
    for figure in figures.values():
        for panel in figure.panels:
            axes = Canvas().add_subplot()
            panel.draw(axes)
            texts = [panel.title, axes.get_xlabel(), axes.get_ylabel(), figure.title]
            assert not [text for text in texts if re.search(r"\w_\w", text)]


def test_eigenvalues_of_both_ends_are_ranked_from_their_own_end(figures: dict[str, Figure]) -> None:
    (panel,) = (
        panel
        for panel in figures["hessian_spectrum_theta"].panels
        if panel.title == "largest and smallest eigenvalues"
    )
    axes = Canvas().add_subplot()
    panel.draw(axes)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "2", "1"]
    for line in (container.lines[0] for container in axes.containers):
        assert (np.diff(line.get_ydata()) <= 0).all(), "from the largest to the smallest"


def test_blocks_between_layers_are_drawn_as_they_were_measured(figures: dict[str, Figure]) -> None:
    figure = figures["hessian_spectrum_theta_layers"]
    (panel,) = (panel for panel in figure.panels if "norms of blocks" in panel.title)
    axes = Canvas().add_subplot()
    panel.draw(axes)
    norms, table = axes.images[0].get_array(), figure.table
    assert table is not None
    layers = table["layer"].unique()
    assert norms.shape == (len(layers), len(layers))
    np.testing.assert_allclose(np.diag(norms), table["‖H_aa‖_F"][: len(layers)])
    besides = np.sqrt((norms**2).sum(1) - np.diag(norms) ** 2)
    np.testing.assert_allclose(besides, table["beside it"][: len(layers)], rtol=0.05)


def test_every_panel_shows_something_and_says_what(figures: dict[str, Figure]) -> None:
    with matplotlib.rc_context(RC):
        for figure in figures.values():
            for panel in figure.panels:
                axes = Canvas().add_subplot()
                panel.draw(axes)
                where = f"{figure.name}: {panel.title}"
                drawn = [
                    *axes.lines,
                    *axes.collections,
                    *axes.images,
                    *axes.patches,
                    *axes.containers,
                    *axes.texts,
                ]
                assert drawn, where
                assert axes.get_xlabel(), where
                assert axes.get_ylabel() or not axes.get_yticks().size or axes.get_yticklabels(), (
                    where
                )
                assert np.isfinite([*axes.get_xlim(), *axes.get_ylim()]).all(), where


def test_captions_say_on_what_was_measured(figures: dict[str, Figure]) -> None:
    for name, figure in figures.items():
        assert "problems" in figure.caption or name == "training", name
