"""The `assistenza` command."""

from app.serving.freezing import freeze, pause_collection


def main() -> None:
    """Load the commands, and run the one that the command line names."""
    pause_collection()
    # Not at the head of this file: the garbage collector would run while they are loaded.
    from app.commands.program import run

    freeze()
    run()


if __name__ == "__main__":
    main()
