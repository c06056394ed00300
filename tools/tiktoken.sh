#!/usr/bin/env bash
# Puts the encoding file of cl100k_base into an environment: tools/tiktoken.sh VENV
#
# tiktoken would download it on first use. A stage must run without a network, so it is taken at set-up from a wheel
# that ships it, pinned by hash in requirements/tiktoken.txt; the wheel is not installed. The file is kept in
# ${TUNELINE_CACHE:-~/.cache/tuneline}; VENV gets a link under the name that tiktoken looks for.
set -euo pipefail

venv=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")/.." && pwd)
name=9b5ad71b2ce5302211f9c61530b329a4922fc6a4
sha256=223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7
cache="${TUNELINE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tuneline}/tiktoken"

complete() { [ -f "$cache/$name" ] && echo "$sha256  $cache/$name" | sha256sum --check --status; }

fetch() {
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  echo "tiktoken: fetching the encoding file"
  local python="$venv/bin/python"
  "$python" -m pip --version >/dev/null 2>&1 || python="$here/.uv/bin/python"
  "$python" -m pip download --quiet --disable-pip-version-check --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    --dest "$work" -r "$here/requirements/tiktoken.txt"
  (cd "$work" && "$python" -m zipfile -e llama_index_core-*.whl .)
  mkdir -p "$cache"
  # Complete or absent: another set-up may run at the same time.
  cp "$work/llama_index/core/_static/tiktoken_cache/$name" "$cache/$name.$$"
  mv "$cache/$name.$$" "$cache/$name"
}

complete || fetch
complete || { echo "tiktoken: $cache/$name does not have the expected hash; remove it and try again" >&2; exit 1; }
mkdir -p "$venv/share"
ln -sfn "$cache" "$venv/share/tiktoken"
