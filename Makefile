# Everything needs only Python 3.11 and make; `make` alone lists what there is.
PYTHON ?= python3
PORT ?= 8000
SECONDS ?= 600
BIN = .venv/bin

export PATH := $(CURDIR)/$(BIN):$(PATH)
MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL = help
.PHONY: help run test soak lint bench processes ci requirements clean

help: ## List what make can do
	@sed -n 's/^\([a-z]*\):.*## /  make \1|/p' Makefile | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

run: .venv/runtime ## Serve everything on http://localhost:8000, SQLite in instance/
	@python app.py

test: .venv/development tests/clients/node_modules ## Run the tests
	@python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

soak: .venv/development tests/clients/node_modules ## Let 1,000 clients, then replicas, join, leave, cut and resume, SECONDS (600) each
	@python -m tests.soak --seconds $(SECONDS)
	@python -m tests.sync_soak --runs 1000000 --processes 2 --kills --seconds $(SECONDS)

lint: .venv/development ## Check style, formatting and types
	@ruff check .
	@ruff format --check .
	@mypy .

bench: .venv/development ## Measure sign-in checks, long lists, and the relay against Node 20 (gcc, npm)
	@python bench/auth.py
	@python bench/rows.py
	@python bench/fanout.py

processes: .venv/development ## Serve as in the Procfile: pages on PORT (8000), sockets 100 above
	@SECRET_KEY=$$(python -c '$(SECRET)') SOCKET_URL=ws://localhost:$$(($(PORT) + 100)); \
	export SECRET_KEY SOCKET_URL; \
	honcho start release && exec honcho start --port $(PORT) web socket

ci: ## Run what the CI runs
	@bash .ci/run

requirements: .venv/development ## Compile the pins of requirements*.txt anew
	@for name in requirements requirements-dev; do \
		CUSTOM_COMPILE_COMMAND="make requirements" pip-compile --quiet --strip-extras \
			--no-emit-options --annotation-style=line $$name.in || exit; \
	done

clean: ## Remove the environment and caches, but no data
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What `python app.py` uses too: the setting, or a secret made once and kept in instance/.
define SECRET
from pathlib import Path; from config import Settings, keep_secret; \
folder = Path("instance"); folder.mkdir(exist_ok=True); \
print(Settings().SECRET_KEY or keep_secret(folder))
endef

# Clients of the tests that need Node; without it, those tests say so and are skipped.
tests/clients/node_modules: tests/clients/package-lock.json
	@! command -v npm >/dev/null || npm ci --silent --prefix tests/clients || echo "npm ci failed"
	@touch -c $@

# These two files say what .venv holds; they are older than the pins when those changed.
.venv/runtime: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Wharf needs Python 3.11")'
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@echo "Installing requirements.txt ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/development: .venv/runtime requirements-dev.txt
	@echo "Installing requirements-dev.txt ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
