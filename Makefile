# The newcomer's two commands are `make run` and `make test`; every target makes the environment by itself.
PYTHON ?= python3.11
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: run test test-slow check format setup lock audit sbom clean

run: $(INSTALLED)  ## the whole pipeline on the embedded default
	$(BIN)/viewforge run

test: $(INSTALLED)  ## the test suite
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(INSTALLED)  ## learning proofs and fault drills
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder -m "slow and not gpu" --timeout 1200

check: $(INSTALLED)  ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: $(INSTALLED)  ## the environment alone

$(INSTALLED): pyproject.toml constraints.txt viewing/npm/package-lock.json
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m blender_render.installation
	$(BIN)/python -m viewing.installation || true  # says what is missing without npm; the pipeline does without it
	touch $@

lock: $(INSTALLED)  ## constraints.txt from the environment
	{ sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//'; } > constraints.tmp
	mv constraints.tmp constraints.txt

audit: $(INSTALLED)  ## known vulnerabilities of what is pinned
	$(BIN)/python -m upkeep.audit

sbom: $(INSTALLED)  ## software bill of materials: sbom.json
	$(BIN)/python -m upkeep.sbom sbom.json

clean:  ## everything that the pipeline made here, the environment aside
	rm -rf data scratch runs report.html promotion.json dvc.lock .prefect .dvc/cache .dvc/tmp mlflow/mlflow.db mlflow/artifacts
