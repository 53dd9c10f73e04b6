# make demo: set up, train a small model, measure it, print where the report is.   make test: set up, run the tests.
# make table1: the table of docs/table1.md, on a GPU; in small where there is none. Interrupted, it goes on.
# make test-fast: those that need no other process, cluster, browser or GPU, in under two minutes.
PYTHON ?= python3
VENV ?= .venv
RUN := runs/quickstart/demo-$(shell date +%Y%m%d-%H%M%S)
IRED := $(VENV)/bin/ired
# The models here are small: a second thread gains nothing, and costs much where cores are shared.
export OMP_NUM_THREADS := 1

.PHONY: demo table1 test test-fast lint clean

demo: $(VENV)/ready
	$(IRED) fit --config configs/quickstart.yaml --config callbacks/demo.yaml --name $(notdir $(RUN))
	$(IRED) test --ckpt $(RUN)
	$(IRED) probe --ckpt $(RUN) --probes inference_trajectory curvature minimum
	$(IRED) probe --ckpt $(RUN) --config callbacks/hessian_spectrum_theta.yaml
	$(IRED) report $(RUN)

table1: $(VENV)/ready
	$(IRED) study $(if $(shell command -v nvidia-smi),table1 --jobs 3,table1_small)

test: $(VENV)/ready
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal

test-fast: $(VENV)/ready
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal -m "not process and not slurm and not browser and not gpu"

lint: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
