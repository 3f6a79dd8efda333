# make train: set up .venv and train the default detector on the embedded data.
# make test:  set up .venv and run every check.
# make docs:  set up .venv and build the documentation into site/.
# make gpu:   set up .venv and, on a CUDA device, run the tests that need one and the benchmarks.
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
INSTALLED := .venv/.installed

CUDA ?= $(shell nvidia-smi 2>/dev/null | sed -n 's/.*CUDA Version: \([0-9]*\).*/\1/p')
RESULTS := benchmark/results

.PHONY: train test docs gpu lint pytest clean

train: $(INSTALLED)
	$(BIN)/python train.py $(ARGS)

test: lint pytest

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

gpu: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cuda$(CUDA)]'
	$(BIN)/python -m pytest -m gpu $(ARGS)
	$(BIN)/python benchmark/neurons.py --device cuda --batch 32 --size 160 --out $(RESULTS)/neurons_cuda.json
	$(BIN)/python benchmark/passes.py --device cuda --batch 32 --size 640 --out $(RESULTS)/passes_cuda.json
	$(BIN)/python benchmark/spike_yolo.py --device cuda --batch 16 --size 640 --out $(RESULTS)/spike_yolo_cuda.json
	$(BIN)/python benchmark/network.py --device cuda --batch largest --size 640 --out $(RESULTS)/network_cuda.json

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# A process per core, of one thread each: threads of several processes that spin would wait for each other.
pytest: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal $(ARGS)

$(INSTALLED): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache emsyolo.egg-info site
