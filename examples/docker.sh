#!/usr/bin/env bash
# The demonstration with Docker only: each stage in a container of its own, reading from and publishing to an S3 bucket.
#
#   make run-docker                                   builds the images first, and uses an S3 server that this script starts
#   STORE=s3://my-bucket/tuneline examples/docker.sh  uses your bucket, with the AWS_… variables of your shell
#
# The same command again resumes where it stopped, or finds everything done.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' shared/pyproject.toml)}
image=localhost/tuneline # as `make images` names them; `--pull never`: nothing comes from a registry
network=bridge
# Credentials are named here and never written: Docker takes their values from this shell.
aws=(--env AWS_ENDPOINT_URL --env AWS_DEFAULT_REGION --env AWS_ACCESS_KEY_ID --env AWS_SECRET_ACCESS_KEY --env AWS_SESSION_TOKEN)

# A stage in its container, with the run file and its local inputs.
stage() {
  docker run --rm --pull never --read-only --cap-drop ALL --security-opt no-new-privileges \
    --tmpfs /tmp --mount type=volume,target=/scratch --network "$network" "${aws[@]}" \
    --volume "$PWD/examples:/data/examples:ro" --volume "$PWD/.cache:/data/.cache:ro" \
    "$image/$1:$version" run --file /data/examples/demo.yaml --store "$STORE" "${@:2}"
}

# A development S3 server in a container; its data stays in the volume tuneline-demo-s3.
start_s3() {
  network=tuneline-demo
  export STORE=s3://demo/tuneline AWS_ENDPOINT_URL=http://tuneline-demo-s3:8333 AWS_DEFAULT_REGION=us-east-1 \
    AWS_ACCESS_KEY_ID=demo AWS_SECRET_ACCESS_KEY=demo-on-this-machine-only
  docker network inspect $network >/dev/null 2>&1 || docker network create $network >/dev/null
  trap 'docker stop tuneline-demo-s3 >/dev/null' EXIT
  docker run --detach --rm --pull never --name tuneline-demo-s3 --network $network --read-only --tmpfs /tmp --cap-drop ALL \
    --volume tuneline-demo-s3:/data --env AWS_ACCESS_KEY_ID --env AWS_SECRET_ACCESS_KEY "$image/s3:$version" demo >/dev/null
  for _ in $(seq 30); do
    tool assessor python -m tuneline.commands.check --store "$STORE" >/dev/null 2>&1 && return
    sleep 1
  done
  echo "the S3 server did not start: docker logs tuneline-demo-s3" >&2
  exit 1
}

# Any other program of an image, as the user who calls, in this folder.
tool() {
  docker run --rm --pull never --user "$(id -u):$(id -g)" --network "$network" "${aws[@]}" --volume "$PWD:/work" --workdir /work \
    --entrypoint "$2" "$image/$1:$version" "${@:3}"
}

[ -n "${STORE:-}" ] || start_s3
[ -d .cache/tiny-base ] || tool trainer python examples/tiny_base.py .cache/tiny-base

stage assessor
stage slicer
stage trainer
stage gguf-converter --variant base # the base model through the same converter, for a fair comparison
stage gguf-converter
stage evaluator

tool evaluator tuneline get demo evaluator/report tuneline-report --store "$STORE"
