#!/usr/bin/env bash
# Puts llama.cpp's programs and converter into an environment: tools/llama-cpp.sh VENV
#
# There is one version of llama.cpp in Tuneline: the one vendored in the source distribution that
# requirements/llama-cpp.txt pins by hash. It is built once (about 6 minutes on two cores) and kept in
# ${TUNELINE_CACHE:-~/.cache/tuneline}; VENV gets links. A `llama-server` on PATH that reports the same
# version is used instead of a build. With TUNELINE_CUDA=FOLDER, the root of a CUDA toolkit, it is built for
# NVIDIA GPUs, and its version says so.
set -euo pipefail

venv=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")/.." && pwd)
version=$(sed -n 's/^llama-cpp-python==\([0-9.]*\).*/\1/p' "$here/requirements/llama-cpp.txt")
stamp="llama-cpp-python-$version${TUNELINE_CUDA:+-cuda}"
# With a number that is raised when more of it is kept.
cache="${TUNELINE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tuneline}/$stamp-2"
programs=(llama-server llama-quantize llama-imatrix)

# `llama-server --version` names the commit it was built with; ours carries the stamp there.
matches() { "$1" --version 2>&1 | grep -qF "$stamp"; }

link() {
  mkdir -p "$venv/bin" "$venv/share"
  for program in "${programs[@]}"; do ln -sfn "$1/$program" "$venv/bin/$program"; done
  ln -sfn "$cache/convert" "$venv/share/llama.cpp"
}

build() {
  work=$(mktemp -d "$cache.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  echo "llama.cpp: fetching the source of $stamp"
  local python="$venv/bin/python"
  "$python" -m pip --version >/dev/null 2>&1 || python="$here/.uv/bin/python"
  "$python" "$here/tools/sdist.py" "$here/requirements/llama-cpp.txt" "$work"
  tar -xzf "$work"/llama_cpp_python-*.tar.gz -C "$work"
  local source="$work/llama_cpp_python-$version/vendor/llama.cpp"
  mkdir -p "$work/out/bin" "$work/out/convert"
  cp -r "$source"/convert_{hf,lora}_to_gguf.py "$source/conversion" "$source/gguf-py" "$work/out/convert/"
  if ! $1; then
    echo "llama.cpp: building ${programs[*]}, about 6 minutes on two cores, once"
    # Without VMM it needs no driver to link; NCCL is for several GPUs.
    local gpu=()
    [ -z "${TUNELINE_CUDA:-}" ] || gpu=(-DGGML_CUDA=ON -DGGML_CUDA_NO_VMM=ON -DGGML_CUDA_NCCL=OFF "-DCUDAToolkit_ROOT=$TUNELINE_CUDA" \
      "-DCMAKE_CUDA_COMPILER=$TUNELINE_CUDA/bin/nvcc" ${CUDA_ARCHITECTURES:+"-DCMAKE_CUDA_ARCHITECTURES=$CUDA_ARCHITECTURES"})
    cmake ${gpu[@]+"${gpu[@]}"} -S "$source" -B "$work/build" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=OFF \
      -DGGML_OPENMP=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
      -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_COMMIT="$stamp" >"$work/cmake.log" || { tail -20 "$work/cmake.log"; exit 1; }
    cmake --build "$work/build" --config Release -j "$(nproc)" --target "${programs[@]}"
    cp "${programs[@]/#/$work/build/bin/}" "$work/out/bin/"
    strip "$work/out/bin/"*
  fi
  # Complete or absent: another set-up may run at the same time, and the first to finish wins.
  mv -T "$work/out" "$cache" 2>/dev/null || test -d "$cache/convert"
}

on_path=$(PATH=$(echo "$PATH" | tr ':' '\n' | grep -vxF "$venv/bin" | paste -sd:) command -v llama-server || true)
mkdir -p "$(dirname "$cache")"
if [ -n "$on_path" ] && [ -x "$(dirname "$on_path")/llama-quantize" ] && [ -x "$(dirname "$on_path")/llama-imatrix" ] && matches "$on_path"; then
  [ -d "$cache/convert" ] || build true
  link "$(dirname "$on_path")"
else
  [ -x "$cache/bin/llama-server" ] || build false
  link "$cache/bin"
fi
matches "$venv/bin/llama-server"
