"""The command `ssblab`. What is heavy is imported when a command needs it: help answers at once."""

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    from ssblab.cli.app import app

    app(prog_name="ssblab")
