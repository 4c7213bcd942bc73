# Every target makes .venv when it is missing or older than the lock file.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test unit check bench peers growth scale tutorials docs dashboards golden schemas lock kafka-lock faults privacy fuzz hostile soak clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

.venv/installed: requirements-dev.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: .venv/installed  ## two registries, a real Kafka, 2,400 records, and what came out
	@$(BIN)/gateway demo

test: .venv/installed  ## everything that must be green: unit, property, Kafka, connectors (under 15 minutes)
	@$(BIN)/python -m pytest -q -m "not slow"

unit: .venv/installed  ## what needs neither Kafka nor a browser (under 3 minutes)
	@$(BIN)/python -m pytest -q -m "not slow and not kafka and not browser" tests/unit tests/conformance tests/registries tests/deploy

check: .venv/installed  ## style, types, layers, connectors, mapping tables, generated files
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/gateway check connectors mappings
	@$(BIN)/gateway schema --check
	@$(BIN)/gateway language --check

bench: .venv/installed  ## records per second and CPU-seconds per million records, as a table
	@$(BIN)/python -m bench

peers: .venv/installed  ## Kafka Streams and Benthos doing our job beside us: 20 minutes, needs go, javac and mvn
	@$(BIN)/python -m bench.peers

growth: .venv/installed  ## cost of a record by registry size, connectors, partitions, processes: 15 minutes
	@$(BIN)/python -m bench.growth

scale: .venv/installed  ## three workers, ten registries: kill, freeze and stop workers, limits measured at the registries; failing brokers; calls that come to the wrong worker; ten minutes
	@$(BIN)/python -m pytest -q -s -m slow tests/end_to_end/test_takeover.py tests/end_to_end/test_processes.py tests/end_to_end/test_failing.py tests/end_to_end/test_push_workers.py

tutorials: .venv/installed  ## follow both tutorials literally, with a real Kafka: two minutes
	@$(BIN)/python -m pytest -q tests/docs

dashboards: .venv/installed  ## run the gateway for five minutes under a real Prometheus and draw docs/dashboards/ anew
	@GATEWAY_DASHBOARDS_OUT=docs/dashboards $(BIN)/python -m pytest -q -s -m slow tests/end_to_end/test_dashboards.py

golden: .venv/installed  ## write the golden files anew; review the difference
	@$(BIN)/python -m pytest -q tests --update-golden

schemas: .venv/installed  ## write schemas/ and the generated documentation anew
	@$(BIN)/gateway schema
	@$(BIN)/gateway language

faults: .venv/installed  ## kill, freeze and starve the gateway and its broker: 100 kills, 20 broker kills, 29 planted defects; half an hour, a table
	@$(BIN)/python -m pytest -q tests/faults

privacy: .venv/installed  ## that planted leaks are found, and that erased bytes leave the broker's disk: four minutes
	@$(BIN)/python -m pytest -q -m slow tests/end_to_end/test_canary.py tests/kafka/test_erased_bytes.py

soak: .venv/installed  ## a backfill of 50,000 records beside live polling that stays fresh; replays and backfills cut short: ten minutes
	@$(BIN)/python -m pytest -q -s -m slow tests/end_to_end/test_soak.py tests/end_to_end/test_replay.py tests/end_to_end/test_backfill.py

lock: .venv/installed  ## renew the locked development dependencies
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --extra local --extra validate --extra otel --group dev pyproject.toml -o requirements-dev.lock

fuzz: .venv/installed  ## ten minutes of coverage-guided fuzzing (FUZZ_SECONDS), the same seed each time
	@$(BIN)/python tests/fuzz/run_fuzz.py

hostile: .venv/installed  ## write the table of bad inputs anew (tests/hostile/README.md)
	@$(BIN)/python -m tests.hostile.hostile_table

kafka-lock: .venv/installed  ## renew the locked jars of the local Kafka
	@$(BIN)/python -m gateway.local.lock_jars

clean:  ## remove what was built or started here
	@-$(BIN)/gateway kafka wipe --yes
	@rm -rf .venv .gateway .mypy_cache .ruff_cache .pytest_cache .hypothesis
