# Make .venv with the package, and the extras named in $1, in it; sourced by demo.sh and test.sh.
# Needs nothing but Python 3.11 or newer (set PYTHON to choose one).

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "Python 3.11 or newer is needed; set PYTHON to its path" >&2
  return 1
}

make_environment() {
  local extras="$1" stamp wanted
  stamp=".venv/installed-${extras:-base}"
  wanted="$(cksum pyproject.toml)"
  if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
    [ -x .venv/bin/python ] || "$(find_python)" -m venv .venv
    .venv/bin/python -m pip install --quiet --editable ".${extras:+[$extras]}"
    echo "$wanted" > "$stamp"
  fi
}
