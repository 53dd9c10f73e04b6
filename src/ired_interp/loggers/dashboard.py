"""The W&B dashboard as code: a section for each thing measured, over the names `WandB` logs."""

from typing import TYPE_CHECKING, Any

from ired_interp.errors import InputError, RunError

if TYPE_CHECKING:
    import wandb_workspaces.workspaces as ws

LANDSCAPES = 10
STEP = "trainer/global_step"

# Section → (title, metric or stem by landscape, logarithmic). A stem ends in "/k" and stands for
# one curve a landscape.
CURVES: dict[str, list[tuple[str, list[str], bool]]] = {
    "Training": [
        ("validation error", ["val/error/same", "val/error/harder"], True),
        ("training loss", ["train/loss"], True),
        ("score term", ["train/score"], True),
        ("contrastive term", ["train/contrast"], False),
    ],
    "Gradients": [
        ("gradient norm", ["gradient_statistics_training/norm_mean"], True),
        ("gradient signal to noise, of one problem", ["gradient_statistics_training/snr"], False),
        ("mean pairwise cosine of batches", ["gradient_statistics_training/mean_cosine"], False),
        (
            "effective rank of the gradient covariance",
            ["gradient_statistics_training/participation"],
            False,
        ),
    ],
    "Spectra": [
        ("median eigenvalue in y by landscape", ["hessian_spectrum_y/lambda_median/k"], True),
        ("largest eigenvalue in y by landscape", ["hessian_spectrum_y/lambda_max/k"], True),
        ("distance from theory (RMS of λ/λ_exact − 1)", ["hessian_spectrum_y/deviation/k"], False),
        ("share of negative eigenvalues in y", ["hessian_spectrum_y/negative_share/k"], False),
        ("trace of the Hessian in θ", ["hessian_spectrum_theta/trace/mixed"], True),
        (
            "effective rank of the Hessian in θ",
            ["hessian_spectrum_theta/effective_rank/mixed"],
            False,
        ),
        ("eigenvalues in y, landscape 0", ["hessian_spectrum_y/eigenvalues/k0"], False),
    ],
    "Drift": [
        (
            "overlap with the first frame",
            ["subspace_drift_hessian_y_training/overlap_independent_to_first/k"],
            False,
        ),
        (
            "overlap with the frame before",
            ["subspace_drift_hessian_y_training/overlap_independent_to_previous/k"],
            False,
        ),
    ],
    "Inference": [],
}
FIGURES = {
    "Gradients": ["gradient_statistics_training/figure"],
    "Spectra": ["hessian_spectrum_y/figure", "hessian_spectrum_theta/figure"],
    "Drift": ["subspace_drift_hessian_y_training/figure"],
    "Inference": ["inference_trajectory/figure"],
}
TABLES = {
    "Spectra": ["hessian_spectrum_y/table/landscape"],
    "Inference": ["inference_trajectory/table/landscape-move"],
}


def dashboard(entity: str, project: str, name: str = "IRED landscapes") -> "ws.Workspace":
    """Return the dashboard, not yet saved.

    Parameters
    ----------
    entity : str
        Team or user at W&B.
    project : str
        Its project.
    name : str
        Of the view.

    Raises
    ------
    InputError
        If wandb-workspaces is not installed.
    """
    try:
        import wandb_workspaces.workspaces as ws
        from wandb_workspaces.reports.v2 import interface as wr
    except ImportError:
        raise InputError(
            "the dashboard needs wandb-workspaces, which is not installed; run `pip install "
            "wandb-workspaces`."
        ) from None
    sections = []
    for title, curves in CURVES.items():
        panels: list[Any] = [_plot(wr, *curve) for curve in curves]
        panels += [
            wr.MediaBrowser(title=key.split("/")[0].replace("_", " "), media_keys=[key])
            for key in FIGURES.get(title, [])
        ]
        panels += [wr.WeavePanelSummaryTable(table_name=key) for key in TABLES.get(title, [])]
        sections.append(
            ws.Section(
                name=title,
                panels=panels,
                is_open=True,
                panel_settings=ws.SectionPanelSettings(x_axis=STEP),
            )
        )
    settings = ws.WorkspaceSettings(x_axis=STEP)
    return ws.Workspace(
        entity=entity, project=project, name=name, sections=sections, settings=settings
    )


def save_dashboard(entity: str, project: str) -> str:
    """Make the dashboard in a W&B project.

    Returns
    -------
    str
        Its address.

    Raises
    ------
    InputError
        If this machine is not logged in to W&B.
    RunError
        If W&B refuses.
    """
    import wandb

    workspace: Any = dashboard(entity, project)
    try:
        if not wandb.login(prompt=False):
            raise InputError(
                "this machine is not logged in to W&B; run `wandb login`, or set WANDB_API_KEY."
            )
        workspace.save()
    except InputError:
        raise
    except Exception as error:
        raise RunError(
            f"W&B did not take the dashboard for {entity}/{project} ({error}); check entity, "
            "project and network."
        ) from error
    return str(workspace.url)


def metrics() -> list[str]:
    """Every name that the dashboard draws."""
    curves = [
        name
        for section in CURVES.values()
        for _, stems, _ in section
        for stem in stems
        for name in _expanded(stem)
    ]
    return curves + [key for keys in (*FIGURES.values(), *TABLES.values()) for key in keys]


def _expanded(stem: str) -> list[str]:
    return [f"{stem}{k}" for k in range(LANDSCAPES)] if stem.endswith("/k") else [stem]


def _plot(wr: Any, title: str, stems: list[str], logarithmic: bool) -> Any:
    names = [name for stem in stems for name in _expanded(stem)]
    axes = {"title_x": "step (updates done)", "log_y": logarithmic}
    return wr.LinePlot(title=title, x=STEP, y=names, **axes)
