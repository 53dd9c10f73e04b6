"""`ired dashboard`: make the team's W&B dashboard with one command."""

from ired_interp.commands.options import CommandParser


def main(command: str, arguments: list[str]) -> int:
    """Run the command."""
    parser = CommandParser(
        prog="ired dashboard",
        description=(
            "Make a W&B dashboard with sections for training, gradients, spectra, drift "
            "and inference."
        ),
    )
    parser.add_argument("--entity", required=True, help="team or user at W&B")
    parser.add_argument(
        "--project",
        default="ired-interp",
        help="W&B project (default: ired-interp, as in loggers/wandb.yaml)",
    )
    options = parser.parse_args(arguments)
    from ired_interp.loggers.dashboard import save_dashboard

    print(save_dashboard(options.entity, options.project))
    return 0
