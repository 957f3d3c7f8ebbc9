"""``python -m spacetime_tps``: the same as the command ``spacetime-tps``."""

from spacetime_tps.cli.app import main

if __name__ == "__main__":
    main()
