PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo demo-network demo-loop test faults lint accuracy site clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(STAMP)

## The main job on the pictures in examples/: refine, score, draw.
demo: $(STAMP)
	$(BIN)/uosam demo demo_out

## The same pictures with masks of a real network: label, refine, draw; PHOTOS=folder for your own.
demo-network: $(STAMP)
	$(BIN)/uosam demo demo_network_out --network $(or $(PHOTOS),examples/images) \
	  --vocabulary $(or $(VOCABULARY),examples/words.txt)

## Cluster, refine, retrain and repeat on PHOTOS=folder; K=number of classes, ROUNDS=how often.
demo-loop: $(STAMP)
	@test -n "$(PHOTOS)" || { echo "name a folder of pictures: make demo-loop PHOTOS=folder K=8"; exit 2; }
	$(BIN)/uosam loop $(PHOTOS) demo_loop_out --k $(or $(K),8) --rounds $(or $(ROUNDS),3)

## The fast tier: minutes, no network, no weights, no data outside the repository.
test: $(STAMP)
	$(BIN)/python -m pytest -q -n auto

## Damaged inputs and killed runs at length, some minutes: the tables of docs/reliability.md.
faults: $(STAMP)
	$(BIN)/python -m tests.faults.mutations --inputs 10000
	$(BIN)/python -m tests.faults.kills --kills 1000

## Accuracy and time beside GrabCut on $$UOSAM_SHARED/data/val; a stored row and README's table.
accuracy: $(STAMP)
	$(BIN)/python -m benchmarks.accuracy
	$(BIN)/python -m benchmarks.accuracy --readme

## The documentation, in build/site.
site: $(STAMP)
	$(BIN)/mkdocs build --strict

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) demo_out demo_network_out demo_loop_out .pytest_cache .ruff_cache .mypy_cache
