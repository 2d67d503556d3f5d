# make lab and make test do everything on a fresh machine; they need Python 3.11 or newer (with venv: Debian has it in
# python3-venv), make and, the first time, a network.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help install lab test test-browser jupyter lint clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1	\2/' | expand -t 21

install: .venv/installed  ## make .venv with everything in it

lab: .venv/installed  ## run every lab with its quick parameters, results in runs/, and make report/report.pdf
	@echo "All labs, two at a time: two to seven minutes on two processor cores. Each says here when it starts and ends."
	@$(BIN)/labkit run --all --jobs 2
	@$(BIN)/labkit report
	@echo "Read report/report.pdf; 'make jupyter' opens the notebooks."

test: .venv/installed  ## run the tests, two at a time
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-browser: .venv/installed  ## run every notebook in JupyterLab and Chromium, by its menus and buttons
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/browser -n 2 --dist loadfile

jupyter: .venv/installed  ## open the notebooks in JupyterLab (ARGS="--no-browser --port 8890": its own options)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/jupyter lab --ServerApp.root_dir=. \
	  --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb $(ARGS)  # the path: its terminals know labkit

lint: .venv/installed  ## check style of code and notebooks
	@$(BIN)/ruff check labkit notebooks tests benchmarks
	@$(BIN)/ruff format --check labkit notebooks tests benchmarks
	@$(BIN)/nbstripout --verify --keep-id notebooks/*.ipynb

clean:  ## delete .venv and caches; runs/ and data/ are kept
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "labkit needs Python 3.11 or newer, but $(PYTHON) is " + sys.version.split()[0] + ": make $(MAKECMDGOALS) PYTHON=python3.12")'
	@test -x $(BIN)/pip || { rm -rf .venv; $(PYTHON) -m venv .venv; }  # one that was broken off has no pip
	@echo "Installing into .venv (PyTorch is large: a few minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[tensorboard,draw,dev,browser]'
	@touch $@
