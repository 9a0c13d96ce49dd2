# Every target works from a bare clone: it makes .venv first when there is none.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo test check format lint types contracts generated generate bench overhead chaos clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/cleft-plan demo

# What only computes runs in two processes at once; what keeps time has the machine for itself afterwards.
test: $(STAMP)
	$(BIN)/python -m pytest -m "not alone" --numprocesses 2 --dist worksteal
	$(BIN)/python -m pytest -m alone

overhead: $(STAMP)
	CLEFT_BENCH=full $(BIN)/python -m pytest -m benchmark -s tests/benchmarks/test_overhead.py

# Every fault of the table in its long form, judged; prints one table. About an hour.
chaos: $(STAMP)
	CLEFT_CHAOS=full $(BIN)/python -m pytest tests/faults $$($(BIN)/python tests/faults/rows.py)

bench: $(STAMP)
	CLEFT_BENCH=full $(BIN)/python -m pytest -m benchmark -s

check: lint types contracts generated

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

contracts: $(STAMP)
	$(BIN)/lint-imports

generate: $(STAMP)
	$(BIN)/python -m protos.build

generated: $(STAMP)
	$(BIN)/python -m protos.build --check

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
