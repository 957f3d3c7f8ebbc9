"""``python -m spacetime_tps``: the same as the command ``spacetime-tps``."""

from spacetime_tps.cli.app import app

if __name__ == "__main__":
    app()
