# `make demo` and `make test` set up all they need: Debian packages, a virtual environment in .venv.

PYTHON ?= python3
BIN := .venv/bin
READY := .stamps/ready
NOT_OLD := import sys; sys.exit(sys.version_info < (3, 11) and f"meshtx: {sys.executable} is older than 3.11; name another: make PYTHON=...")
# What is measured is the distribution's Python, which is what users run, in an environment of its own.
BENCH_PYTHON ?= $(shell /usr/bin/python3 -c '$(NOT_OLD)' 2>/dev/null && echo /usr/bin/python3 || echo $(PYTHON))
BENCH_BIN := .venv-bench/bin
BENCH_READY := .stamps/ready-bench
BREAK ?=
BENCH ?=
FRESH ?=
CLUSTER ?= tests.cluster
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
PURE := tests.test_layers tests.test_repository tests.test_config tests.wire tests.pki
PATHS := meshtx twisted tests tools examples benchmarks

.DEFAULT_GOAL := help
.PHONY: help demo test coverage check fresh servers kube-up kube-down kube-test cluster cluster-down cluster-test strangers lab bench profile lint mutants clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## run a mesh of example services and prove that it is mutual TLS (BREAK=plaintext|wrong-ca|no-proxy)
	$(BIN)/meshtx demo $(if $(BREAK),--break $(BREAK))

test: $(READY) lint ## run everything: lint, types, unit, namespace and interop tests
	$(BIN)/python -m tools.run_tests

coverage: $(READY) ## run every test in twice the time, and print which lines none of them reaches
	$(BIN)/python -m tools.run_tests --coverage

check: $(READY) lint ## answer in under a minute: lint, types, layers, and the rooms that do no I/O
	MESHTX_TEST_EFFORT=quick $(BIN)/python -m twisted.trial -j2 $(PURE)

fresh: ## do the README's two commands as an ordinary user, on new Debians (FRESH="bookworm trixie"; needs root)
	$(SUDO) $(PYTHON) -m tools.fresh $(FRESH)

servers: $(READY) ## do the README's sections on a laptop and on servers on new Debians under systemd (SERVERS="--restarts 100"; needs root)
	$(SUDO) tools/system_packages.sh $(PYTHON) servers
	$(SUDO) $(BIN)/python -m tools.servers $(SERVERS)

kube-up: $(READY) ## start a Kubernetes control plane that stays (built from its Go modules the first time)
	@$(BIN)/python -m tests.kube.control_plane up

kube-down: $(READY) ## end it
	@$(BIN)/python -m tests.kube.control_plane down

kube-test: $(READY) ## run the tests against Kubernetes, each process with a control plane of its own
	MESHTX_KUBE=required $(BIN)/python -m tools.run_tests tests.kube

cluster: $(READY) ## start a Kubernetes of one node that stays, in namespaces of its own (root; built the first time)
	$(SUDO) tools/system_packages.sh $(PYTHON) cluster
	@$(SUDO) $(BIN)/python -m tests.cluster up

cluster-down: $(READY) ## end it
	@$(SUDO) $(BIN)/python -m tests.cluster down

cluster-test: $(READY) ## run whole tales in such a cluster, which ends with them (root)
	$(SUDO) tools/system_packages.sh $(PYTHON) cluster
	$(SUDO) $(BIN)/python -m twisted.trial $(CLUSTER)

strangers: $(READY) ## send every kind of hostile input to every port, and measure how long it holds a program
	$(BIN)/python -m tests.mesh.strangers

lab: $(READY) ## measure what a client waits for behind a load balancer, in network namespaces (as root)
	$(BIN)/python -m tests.mesh.loadbalancer.lab

bench: $(BENCH_READY) ## measure what it costs beside other sidecars (BENCH=--quick: in 4 minutes)
	benchmarks/install.sh $(BENCH_BIN)/python
	$(BENCH_BIN)/python -m benchmarks $(BENCH)

profile: $(BENCH_READY) ## draw where the time of our proxies goes, as flame graphs in benchmarks/results
	benchmarks/install.sh $(BENCH_BIN)/python
	$(BENCH_BIN)/python -m benchmarks.profile $(BENCH)

lint: $(READY) ## check style, format and types
	$(BIN)/ruff check $(PATHS)
	$(BIN)/ruff format --check $(PATHS)
	$(BIN)/mypy

mutants: $(READY) ## remove one mechanism at a time and see its test fail
	$(BIN)/python -m tools.mutants

clean: ## remove what make has made
	[ ! -d .kube ] || $(BIN)/python -m tests.kube.control_plane down
	[ ! -d .cluster ] || $(SUDO) $(BIN)/python -m tests.cluster down
	rm -rf .venv .venv-bench .stamps .coverage .coverage.* htmlcov _trial_temp* build dist *.egg-info
	rm -rf .mypy_cache .ruff_cache .hypothesis .tox twisted/plugins/dropin.cache meshtx/plugins/dropin.cache
	find $(PATHS) -name __pycache__ -type d -prune -exec rm -rf {} +

# $(1): a Python; $(2): where its environment is to be; $(3): what is installed there.
# A flat layout hides the twistd plugin from an ordinary editable installation; the compat mode does not.
define set_up
	tools/system_packages.sh $(1)
	@$(1) -c '$(NOT_OLD)'
	$(1) -m venv $(2)
	$(2)/bin/pip install --progress-bar on --disable-pip-version-check --config-settings editable_mode=compat -e '$(3)'
	@mkdir -p .stamps && touch $@
endef

$(READY): setup.cfg pyproject.toml tools/system_packages.sh
	$(call set_up,$(PYTHON),.venv,.[dev])

$(BENCH_READY): setup.cfg pyproject.toml tools/system_packages.sh
	$(call set_up,$(BENCH_PYTHON),.venv-bench,.)
