PYTHON ?= python3

VENV := .venv
LOWER := .venv-lower
RUN := $(VENV)/bin/python -m

# $(call environment,DIRECTORY,MORE REQUIREMENTS) makes a virtual environment with the package
# and the tools, unless a whole one is there: one whose note .whole, written last, tells the
# requirements and the place it was made for, and whose Python still imports what we need.
define environment
@made_for="$$(cat Makefile pyproject.toml constraints.txt | cksum) $(CURDIR)"; \
if [ "$$(cat $(1)/.whole 2>/dev/null)" = "$$made_for" ] \
    && $(1)/bin/python -c "import torch, skorch, sklearn" >/dev/null 2>&1; then \
    exit 0; \
fi; \
echo "Making $(1), which takes a few minutes."; \
rm -rf $(1) \
    && $(PYTHON) -m venv $(1) \
    && $(1)/bin/python -m pip install --quiet --disable-pip-version-check \
        --editable ".[dev]" --constraint constraints.txt $(2) \
    && echo "$$made_for" > $(1)/.whole
endef

# The dependencies of pyproject.toml, each at its lower bound, with a polars that tells its
# columns in the way in which scikit-learn then asked for them.
LOWEST := $$($(PYTHON) -c "import tomllib; \
    project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
    print(*(need.replace('>=', '==') for need in project['dependencies']))") "polars<1.40"

# The tests run in two processes; threads of torch's own would only get in their way.
test lower-bounds: export OMP_NUM_THREADS = 1

.PHONY: help demo test check lint format typecheck examples skorch-tests lower-bounds venv clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

demo: venv ## draw the picture of the README
	$(VENV)/bin/python examples/plot_dropout_sampling.py

test: venv ## run all tests, the README and the examples among them
	$(RUN) pytest -n 2

check: lint typecheck test examples ## all that a change has to pass

lint: venv ## look for mistakes of style and spelling
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(VENV)/bin/codespell

format: venv ## mend what lint can mend by itself
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

typecheck: venv ## check the types
	$(RUN) mypy sk_mcdropout

examples: venv ## run the README and the examples alone
	MPLBACKEND=Agg $(RUN) pytest tests/test_docs.py

skorch-tests: venv ## run skorch's own tests on our regressor
	$(VENV)/bin/python tests/skorch_suite/run.py

lower-bounds: ## run the tests with the oldest dependencies, on the oldest Python, 3.11
	$(call environment,$(LOWER),$(LOWEST))
	$(LOWER)/bin/python -m pytest -n 2

venv: ## make the environment .venv where there is no whole one
	$(call environment,$(VENV))

clean: ## remove the environments and all that was built
	rm -rf $(VENV) $(LOWER) build dist *.egg-info .coverage htmlcov .*_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
