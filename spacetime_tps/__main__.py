"""``python -m spacetime_tps``: the same as the command ``spacetime-tps``."""

from spacetime_tps.cli import app

if __name__ == "__main__":
    app()
