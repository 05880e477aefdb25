"""``python -m persam``: the commands, where no script is on the path."""

from persam.cli.main import app

if __name__ == "__main__":
    app(prog_name="python -m persam")
