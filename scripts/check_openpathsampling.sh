#!/usr/bin/env bash
# Hand a run's reactive trajectories to OpenPathSampling, and try them there.
#
#   bash scripts/check_openpathsampling.sh RUN [JSON]
#
# Makes .venv-openpathsampling: OpenPathSampling pins numpy<2 and imports six without asking for it, so it cannot live
# in .venv. Exports the trajectories, loads them there, runs a committor and one-way shooting moves, and writes wall
# times and energy evaluations to the JSON file. Exits non-zero if any of it fails.

set -euo pipefail
run="$(cd "${1:?give the folder of a run}" && pwd)"
json="${2:-$run/openpathsampling.json}"
[[ "$json" = /* ]] || json="$PWD/$json"

source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
make_environment ""

environment=.venv-openpathsampling
packages=("openpathsampling==1.7.*" "openmm>=8.5" "mdtraj>=1.11" "numpy<2" six)
if [ "$(cat "$environment/installed" 2>/dev/null)" != "${packages[*]}" ]; then
  rm -rf "$environment"
  "$(find_python)" -m venv "$environment"
  "$environment/bin/python" -m pip install --quiet "${packages[@]}"
  echo "${packages[*]}" > "$environment/installed"
fi

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
.venv/bin/spacetime-tps export "$run" --to openpathsampling --output "$work/exported" 2> "$work/log" ||
  { cat "$work/log" >&2; exit 1; }
"$environment/bin/python" scripts/check_openpathsampling.py "$work/exported" "$work/figures.json"
cp "$work/figures.json" "$json"
echo "wall times and evaluations are in $json"
