# The front door: `make reproduce` and `make test` do everything on a machine that has only Python 3.11.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
UV_VERSION := 0.13.9
# uv lives apart from the environment it manages, so that a sync never removes it.
UV := .venv-uv/bin/uv
BIN := .venv/bin

# cpu: PyTorch's own builds for CPUs, without 5 GB of CUDA libraries; asks PyTorch's own index beside the ordinary one.
TORCH ?= cuda
PRESET ?= quick
STUDY ?= all
export PYTHONHASHSEED := 0

.PHONY: help setup reproduce lab test lint verify nbval notebooks site newest lock clean

help:
	@echo "make reproduce [DATA=synthetic] [STUDY=all] [PRESET=smoke|quick|gpu|paper]   regenerate tables and figures"
	@echo "               in results/local and figures/local, and compare them with the committed ones"
	@echo "               [RETRAIN=1]: train every network here instead of taking the released ones"
	@echo "make lab         JupyterLab on copies of the notebooks, in notebooks/local, which git ignores"
	@echo "make setup [TORCH=cpu]   the environment alone; TORCH=cpu: without the CUDA libraries"
	@echo "make test        pass the tests        make lint        style and formatting"
	@echo "make verify      check every committed number        make nbval       execute the committed notebooks again, compare their outputs"
	@echo "make site        the results as pages, in site/: open site/index.html (wants node 20)"
	@echo "make notebooks   refresh the committed, executed notebooks        make clean   remove the environments"
	@echo "LRFACE_DATA names the folder that holds the face sets (celeba/, lfw/, ...)."

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info[:2] >= (3, 11) else "lrface needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv-uv
	.venv-uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# The stamp is newer than the lock exactly when the environment matches it: a second make installs nothing.
.venv/.installed: requirements.lock pyproject.toml | $(UV)
	@[ -x $(BIN)/python ] || $(UV) venv --quiet --python $(PYTHON) .venv
ifeq ($(TORCH),cpu)
	@awk '/^[a-z]/ {keep = !/^(torch|torchvision|triton|nvidia-|cuda-)/} keep' requirements.lock > .venv/cpu.lock
	VIRTUAL_ENV=.venv $(UV) pip sync --quiet --require-hashes --compile-bytecode .venv/cpu.lock
	VIRTUAL_ENV=.venv $(UV) pip install --quiet --compile-bytecode --no-deps --torch-backend cpu $$(grep -oE '^(torch|torchvision)==[0-9.]+' requirements.lock)
else
	VIRTUAL_ENV=.venv $(UV) pip sync --quiet --require-hashes --compile-bytecode requirements.lock
endif
	VIRTUAL_ENV=.venv $(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

setup: .venv/.installed

reproduce: setup
	@$(BIN)/lrface reproduce --study $(STUDY) --preset $(PRESET) $(if $(DATA),--data "$(DATA)") $(if $(RETRAIN),--retrain) $(ARGS)

# JupyterLab saves what it runs into the file that is open: these are the reader's own.
lab: setup
	@mkdir -p notebooks/local
	@for file in notebooks/[0-9]*.ipynb; do own="notebooks/local/$${file##*/}"; [ -e "$$own" ] || sed 's#](\.\./#](../../#g' "$$file" > "$$own"; done
	@$(BIN)/jupyter lab --notebook-dir . --LabApp.default_url=/lab/tree/notebooks/local $(ARGS)

test: setup
	@$(BIN)/python -m pytest -m '' --durations 40 --durations-min 5 $(ARGS)

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

verify: setup
	@$(BIN)/lrface verify $(ARGS)

# What the notebooks write goes elsewhere: the committed results are not this run's.
nbval: setup
	@out=$$(mktemp -d); trap 'rm -rf "$$out"' EXIT; \
	  LRFACE_OUT="$$out" $(BIN)/python -m pytest --nbval-lax --nbval-current-env --numprocesses 0 -p no:cacheprovider --nbval-cell-timeout=3600 $(ARGS) notebooks

notebooks: setup
	@$(BIN)/lrface publish

# What the site needs beside the ordinary environment: Sphinx and ONNX from PyPI, scripts of its pages from npm.
.venv/.site: docs/requirements.lock .venv/.installed
	VIRTUAL_ENV=.venv $(UV) pip install --quiet --require-hashes --compile-bytecode --no-deps -r docs/requirements.lock
	@touch $@

docs/node_modules/.package-lock.json: docs/package-lock.json
	@command -v npm > /dev/null || { echo "make site wants node and npm: install them, or read the notebooks as they are" >&2; exit 1; }
	cd docs && npm ci --silent --ignore-scripts
	@touch $@

site: .venv/.site docs/node_modules/.package-lock.json
	@$(BIN)/python -m lrface.site

# The newest packages that pyproject.toml allows, beside the locked ones: what the weekly drift run is made with.
newest: | $(UV)
	rm -rf .venv-newest
	$(UV) venv --quiet --python $(PYTHON) .venv-newest
	VIRTUAL_ENV=.venv-newest $(UV) pip install --quiet --compile-bytecode --editable '.[test]'

# Deliberate: a new lock is a decision of its own, made by hand and reviewed as a diff.
lock: $(UV)
	$(UV) pip compile pyproject.toml --extra generator --extra test --generate-hashes --python-version 3.11 \
	  --no-header --no-annotate --quiet --constraint <(printf 'torch==2.14.1\ntorchvision==0.29.1\n') -o requirements.lock
	$(UV) pip compile <($(PYTHON) -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['site'], sep='\n')") \
	  --generate-hashes --python-version 3.11 --no-header --no-annotate --quiet --constraint requirements.lock -o docs/requirements.lock

clean:
	rm -rf docs/node_modules docs/_build site
	rm -rf .venv .venv-newest .venv-uv .pytest_cache .ruff_cache
