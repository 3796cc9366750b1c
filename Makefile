# make demo   the light environment, then the main job on a synthetic room
# make test   the full environment, then formatting, types and tests
# make bench  the figures of the README, on ../shared/data
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable
# what it says it needs (numpy<2, moviepy, xformers) cannot be had together with the rest, and is not needed
INSTALL_DA3 = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps depth-anything-3==0.1.1
INSTALL_SLOWLY = $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable

.PHONY: demo test lint bench clean

demo: $(VENV)/core
	$(BIN)/gpt4scene demo

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/full
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(VENV)/full
	$(BIN)/python tests/bench_prepare.py
	$(BIN)/python tests/bench_associate.py
	$(BIN)/python tests/bench_stereo.py
	$(BIN)/python tests/bench_video.py
	$(BIN)/python tests/bench_ask.py
	$(BIN)/python tests/bench_local.py
	$(BIN)/python tests/bench_captions.py
	$(BIN)/python tests/bench_datasets.py
	$(BIN)/python tests/bench_vsibench.py

clean:
	rm -rf $(VENV)

# what pip is told about registries in its own files, uv does not read: then pip itself installs, in minutes
$(VENV)/core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "gpt4scene needs Python 3.11 or later, this is " + sys.version.split()[0] + ": name another with `make PYTHON=python3.12`")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(INSTALL) . || $(INSTALL_SLOWLY) .
	touch $@

$(VENV)/full: $(VENV)/core
	$(INSTALL) '.[all,test]' || $(INSTALL_SLOWLY) '.[all,test]'
	$(INSTALL_DA3) || echo 'depth-anything-3 does not install on this Python: its tests are skipped'
	touch $@
