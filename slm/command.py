"""How a command ends: the user's mistakes and Ctrl-C in one line on standard error, never a traceback.

In: a typer application. Out: an exit status: 2 for a mistake, 130 for Ctrl-C.
"""

import sys

import typer

STOPPED = 130  # what a shell reports for SIGINT; typer exits with it


def run(app: typer.Typer) -> None:
    """Run the application with the process's arguments."""
    try:
        app()
    except SystemExit as exit_:
        if exit_.code == STOPPED:
            print("stopped; the same command continues from here", file=sys.stderr)
        raise
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
