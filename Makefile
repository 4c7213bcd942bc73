# Every target creates .venv if it is missing or older than the lock file.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# The tests start many processes, which start faster when Python keeps compiled modules.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test unit check first-run wheel speed speed-tests bench peers extraction growth scale tutorials deploy-check docs dashboards pages alerts quiet-hour golden schemas lock kafka-lock faults equality privacy scenarios drills attacks fuzz hostile soak clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ \
	     count = split($$2, words, " "); line = sprintf("  %-10s", $$1); \
	     for (i = 1; i <= count; i++) { \
	       if (length(line) + length(words[i]) > 79) { print line; line = sprintf("%12s", "") } \
	       line = line " " words[i] } \
	     print line }'

.venv/installed: requirements-dev.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

# The demo needs a third of the packages. The targets that need the others install them later.
# uv downloads them in parallel, in a tenth of the time that pip needs. It is not kept. Where uv is
# not to be had, pip does the same work.
DEMO_PACKAGES := --constraint requirements-dev.lock --editable '.[local]'
.venv/installed-demo: requirements-dev.lock pyproject.toml
	@echo "installing the packages of the demo in .venv (240 MB, the first time only)"
	@{ $(PYTHON) -m pip install --quiet --disable-pip-version-check --no-compile --target .uv uv \
	     && echo "  downloading them" \
	     && { test -x $(BIN)/python || .uv/bin/uv venv --quiet --seed --cache-dir .uv/cache --python $(PYTHON) .venv; } \
	     && .uv/bin/uv pip install --quiet --cache-dir .uv/cache --python $(BIN)/python $(DEMO_PACKAGES); \
	   } 2>.uv.log \
	|| { echo "  with pip, which takes a minute"; \
	     $(BIN)/python -m pip --version >.uv.log 2>&1 || $(PYTHON) -m venv --clear .venv; \
	     $(BIN)/python -m pip install --disable-pip-version-check --no-compile $(DEMO_PACKAGES) \
	     | awk '/^Collecting/ && ++count % 10 == 0 { print "  downloaded " count " packages"; fflush() }'; \
	     $(BIN)/python -c 'import gateway, aiokafka, jgo'; }
	@rm -rf .uv .uv.log
	@touch $@

demo: $(if $(wildcard .venv/installed),.venv/installed,.venv/installed-demo)  ## run the demo: a real Kafka, three registries, 2,400 records
	@$(BIN)/gateway demo

PARALLEL := tests/unit tests/conformance tests/registries tests/deploy
WITHOUT_KAFKA := not slow and not kafka and not browser
# Two processes run the tests with Kafka, each with a broker of its own. They cannot share a broker
# that GATEWAY_TEST_KAFKA names, because topic names are fixed.
IN_TWO := -n $(if $(GATEWAY_TEST_KAFKA),0,2) --dist loadfile --no-loadscope-reorder

test: .venv/installed  ## run every test except the slow ones (under 15 minutes)
	@$(BIN)/python -m pytest -q -n auto -m "$(WITHOUT_KAFKA)" tests
	@$(BIN)/python -m pytest -q $(IN_TWO) -m "not slow and (kafka or browser)" tests

unit: .venv/installed  ## run the tests that need neither Kafka nor a browser (under 3 minutes)
	@$(BIN)/python -m pytest -q -n auto -m "$(WITHOUT_KAFKA)" $(PARALLEL)

check: .venv/installed  ## check style, types, layers, connectors, mapping tables and generated files
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/gateway check connectors mappings
	@$(BIN)/gateway schema --check
	@$(BIN)/gateway language --check
	@$(BIN)/python docs/generate.py --check

first-run:  ## measure `make demo` in a fresh clone, an empty home and an empty pip cache (2 minutes)
	@$(PYTHON) bench/first_run.py

bench: .venv/installed  ## measure records per second and CPU time per record
	@$(BIN)/python -m bench

peers: .venv/installed  ## compare with Kafka Streams, confluent-kafka and Benthos (1 hour; needs go, javac and mvn)
	@$(BIN)/python -m bench.peers

extraction: .venv/installed  ## compare the extraction with dlt and the Airbyte CDK (5 minutes)
	@$(BIN)/python -m bench.extraction

growth: .venv/installed  ## measure cost by registry size, connectors, partitions and processes (15 minutes)
	@$(BIN)/python -m bench.growth

scale: .venv/installed  ## test three workers with ten registries, failing brokers and forwarded calls (10 minutes)
	@$(BIN)/python -m pytest -q -s -m slow tests/end_to_end/test_kill.py tests/end_to_end/test_takeover.py tests/end_to_end/test_processes.py tests/end_to_end/test_failing.py tests/end_to_end/test_push_workers.py

tutorials: .venv/installed  ## follow the README in a fresh clone and both tutorials (5 minutes)
	@$(BIN)/python -m pytest -q tests/docs

dashboards: .venv/installed  ## run under a real Prometheus and draw docs/dashboards/ (5 minutes)
	@GATEWAY_DASHBOARDS_OUT=docs/dashboards $(BIN)/python -m pytest -q -s -m slow tests/end_to_end/test_dashboards.py

pages: .venv/installed  ## draw the status page in Chromium, light and dark, into docs/pages/
	@GATEWAY_PAGES_OUT=docs/pages $(BIN)/python -m pytest -q tests/unit/observability/test_page_pictures.py

alerts: .venv/installed  ## provoke each alert, follow its runbook and write the table of deploy/README.md (30 minutes)
	@ALERTS_TABLE=write $(BIN)/python -m pytest -q -s -m slow $(wildcard tests/end_to_end/test_alerts_*.py)

quiet-hour: .venv/installed  ## check that a start, a rolling restart and a pause raise no alert (60 minutes)
	@GATEWAY_TEST_QUIET_MINUTES=60 $(BIN)/python -m pytest -q -s -m slow tests/end_to_end/test_quiet_hour.py

wheel: .venv/installed  ## install the built wheel in a fresh environment and run its demo (2 minutes)
	@$(BIN)/python -m pytest -q -m slow tests/deploy/test_wheel.py

speed: .venv/installed  ## build and install the optional accelerator (1 minute; needs cargo)
	@command -v cargo >/dev/null || { \
	     echo "make speed needs cargo 1.85 or newer: install it from https://rustup.rs, then repeat make speed. The gateway works without it." >&2; \
	     exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall ./speed
	@$(BIN)/gateway --version

speed-tests: speed  ## run the tests of equal bytes with the accelerator (10 minutes; needs cargo)
	@$(BIN)/python -m pytest -q -rs -n auto -m "$(WITHOUT_KAFKA)" $(addprefix tests/unit/,accelerator fetch messages kafka harmonise render) tests/registries tests/conformance
	@$(BIN)/python -m pytest -q -rs -n auto tests/equality

golden: .venv/installed  ## write the golden files again; review the difference
	@$(BIN)/python -m pytest -q tests --update-golden

schemas: .venv/installed  ## write schemas/ and the generated pages again
	@$(BIN)/gateway schema
	@$(BIN)/gateway language
	@$(BIN)/python docs/generate.py

.venv-docs/installed: requirements-docs.lock
	@test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.lock
	@touch $@

docs: .venv-docs/installed  ## build the documentation in site/; a broken link fails
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build

.venv-deploy/installed: requirements-deploy.lock tests/deploy/install_tools.sh
	@test -x .venv-deploy/bin/python || $(PYTHON) -m venv .venv-deploy
	@.venv-deploy/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-deploy.lock
	@bash tests/deploy/install_tools.sh .venv-deploy/bin
	@touch $@

deploy-check: .venv/installed .venv-deploy/installed  ## check deploy/ with helm, kubeconform, hadolint, compose and promtool; a missing tool is skipped with a reason
	@PATH="$(CURDIR)/.venv-deploy/bin:$$PATH" $(BIN)/python -m pytest -q -rs -m "not slow" tests/deploy

faults: .venv/installed  ## run the fault tests: kills, freezes, full disks, planted defects (30 minutes)
	@$(BIN)/python -m pytest -q tests/faults

equality: .venv/installed  ## compare the fast path with the ordinary way: all connectors, 100,000 changed records (5 minutes)
	@$(BIN)/python -m pytest -q -n auto tests/equality

privacy: .venv/installed  ## test that planted leaks are found and erased bytes leave the disk (4 minutes)
	@$(BIN)/python -m pytest -q -m slow tests/end_to_end/test_canary.py tests/kafka/test_erased_bytes.py

scenarios: .venv/installed  ## move to another cluster, restore a backup, and ask why streams do not run (5 minutes)
	@$(BIN)/python -m pytest -q $(IN_TWO) -m slow $(addprefix tests/end_to_end/test_,move_and_restore.py isolation.py why.py waiting_commands.py status.py entries_moved_by_rules.py)

drills: .venv/installed  ## run each drill, and check that its fault shows and vanishes (15 minutes)
	@$(BIN)/python -m pytest -q -m slow tests/end_to_end/test_drill_faults.py

attacks: .venv/installed  ## run the attacks and kills that take long or only repeat a kind (7 minutes)
	@$(BIN)/python -m pytest -q $(IN_TWO) -m slow tests/security tests/kafka

soak: .venv/installed  ## test a backfill of 50,000 records next to live polling (10 minutes)
	@$(BIN)/python -m pytest -q -s -m slow tests/end_to_end/test_soak.py tests/end_to_end/test_replay.py tests/end_to_end/test_backfill.py

lock: .venv/installed  ## renew the locked dependencies
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --extra local --extra validate --extra otel --group dev pyproject.toml -o requirements-dev.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --group pyproject.toml:docs -o requirements-docs.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --group pyproject.toml:deploy -o requirements-deploy.lock

fuzz: .venv/installed  ## fuzz what reads foreign data for FUZZ_SECONDS (10 minutes), from FUZZ_SEED
	@$(BIN)/python tests/fuzz/run_fuzz.py

hostile: .venv/installed  ## write tests/hostile/README.md again
	@$(BIN)/python -m tests.hostile.hostile_table

kafka-lock: .venv/installed  ## renew the locked jars of the local Kafka
	@$(BIN)/python -m gateway.local.lock_jars

clean:  ## remove everything that was built or started here
	@-$(BIN)/gateway kafka wipe --yes
	@rm -rf .venv .venv-docs .venv-deploy site .gateway .mypy_cache .ruff_cache .pytest_cache .hypothesis
