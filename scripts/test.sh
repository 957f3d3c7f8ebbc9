#!/usr/bin/env bash
# The tests: install into .venv, run pytest on all cores. Arguments go to pytest: -m "not slow"
# leaves out whole jobs and benchmarks, -m attack runs the attacks that last up to an hour.

source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
make_environment dev

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
exec .venv/bin/python -m pytest --numprocesses auto "$@"
