#!/usr/bin/env bash
# The main job on alanine dipeptide: install into .venv, run, say where the results are.
# Arguments go to `spacetime-tps run`, such as --seed 1.

source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
make_environment ""

output=runs/alanine_dipeptide
.venv/bin/spacetime-tps run alanine_dipeptide --output "$output" --overwrite "$@"
echo
echo "figures:                 $PWD/$output/figures/"
echo "annealed paths:          $PWD/$output/paths/        (open with $output/topology.pdb)"
echo "reactive trajectories:   $PWD/$output/reactive/     (open with $output/topology.pdb)"
echo "all figures in numbers:  $PWD/$output/summary.json"
