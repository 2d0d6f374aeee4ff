PYTHON ?= python3

VENV := .venv
RUN := $(VENV)/bin/python -m

# What Python compiles is kept for the next process: torch and the tests take a quarter of a minute.
unexport PYTHONDONTWRITEBYTECODE

# $(call environment,DIRECTORY,MORE REQUIREMENTS,TORCH,EXTRA) makes a virtual environment with the
# package, the extra `dev` of pyproject.toml or this one, and more, with the version of torch that
# constraints.txt pins or this one.
# Files are compiled when they are imported: most never are, and all take a minute.
# It is kept while its note .whole, written last, names this place and what it was made from,
# and while its Python still finds what was installed.
define environment
@made_for="$(CURDIR) $$(cat Makefile pyproject.toml constraints.txt $(filter %.txt,$(2)) | cksum)"; \
if [ "$$(cat $(1)/.whole 2>&1)" != "$$made_for" ] || ! $(1)/bin/python -c "import pytest"; then \
    echo "Making $(1), which takes a few minutes." \
    && rm -rf $(1) \
    && $(PYTHON) -m venv $(1) \
    && sed "$(if $(3),s/^torch==.*/torch==$(3)/)" constraints.txt > $(1)/constraints.txt \
    && $(1)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check \
        --editable ".[$(or $(4),dev)]" --constraint $(1)/constraints.txt $(2) \
    && echo "$$made_for" > $(1)/.whole; \
fi
endef

# The dependencies of pyproject.toml but torch, each at its lower bound, with a polars that tells
# its columns in the way in which scikit-learn then asked for them.
LOWEST := $$($(PYTHON) -c "import tomllib; \
    project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
    print(*(need.replace('>=', '==') for need in project['dependencies'] \
        if not need.startswith('torch')))") "polars<1.40"

# Builds of torch with CUDA, several GB each, are too large for the gate.
OLDEST_TORCH := 2.6.0
NEWEST_TORCH := 2.14.1

# The exporter of the oldest torch refuses most nets, as `export` then says.
WITHOUT_EXPORT := --deselect sk_mcdropout/estimators/_export.py \
    --deselect tests/estimators/test_export.py \
    --deselect "tests/test_docs.py::test_the_code_of_a_page_runs[guide/saving.md]"

# The tests run in two processes; threads of torch's own would only get in their way.
test slow-tests coverage clients lower-bounds oldest-torch newest-torch pre-releases: \
    export OMP_NUM_THREADS = 1

.PHONY: help demo test slow-tests coverage check lint format typecheck examples skorch-tests
.PHONY: clients lower-bounds oldest-torch newest-torch pre-releases real-nets docs site-tests dist
.PHONY: venv clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

demo: venv ## draw the picture of the README
	$(VENV)/bin/python examples/plot_dropout_sampling.py

test: venv ## run the tests, the README and the examples among them
	$(RUN) pytest -n 2

slow-tests: venv ## run the tests that `make test` leaves out since they take long
	$(RUN) pytest -n 2 -m slow
	$(RUN) pytest -n 2 tests/sampling/test_random_programs.py --programs 200

coverage: venv ## run all tests, and fail where they leave out too many lines and branches
	$(RUN) pytest -n 2 -m "" --cov --cov-report=term

check: lint typecheck test ## all that a change has to pass

lint: venv ## look for mistakes of style, imports and spelling
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/codespell

format: venv ## mend what lint can mend by itself
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

typecheck: venv ## check the types
	$(RUN) mypy sk_mcdropout

examples: venv ## run the README and the examples alone
	MPLBACKEND=Agg $(RUN) pytest -m "" tests/test_docs.py

skorch-tests: venv ## run skorch's own tests on our estimators
	$(VENV)/bin/python tests/skorch_suite/run.py

# modAL asks for skorch 0.9.0, and works with ours.
clients: ## run the tests of other packages around our estimators, with all of them installed
	$(call environment,$(VENV)-clients,--editable ".[clients]")
	$(VENV)-clients/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
	    modAL-python
	$(VENV)-clients/bin/python -m pytest -n 2 -m "" tests/clients

# What asks the dependencies: the tests of nets and most of sampling need torch alone, whose version
# is the same, and those of how nets are trained little more.
WITH_ESTIMATORS := $(patsubst %,tests/estimators/test_%.py,bad_input classifier classifier_cv common \
    data files masks mixins overrides parameters regressor sample_weight seeds shapes sparse training)
WITH_DRAWS := $(patsubst %,tests/sampling/test_%.py,draws dropouts pooled sample)
WITH_CLIENTS := $(patsubst %,tests/clients/test_%.py,inspection meta_estimators routing \
    scikit_optimize searches)

lower-bounds: ## run what asks the dependencies with the oldest of these but torch, on Python 3.11
	$(call environment,$(VENV)-lower,$(LOWEST))
	$(VENV)-lower/bin/python -m pytest -n 2 tests/acquisition tests/metrics tests/predictive \
	    $(WITH_ESTIMATORS) $(WITH_DRAWS) $(WITH_CLIENTS)

oldest-torch: ## run the tests with the oldest torch that is allowed (downloads several GB)
	$(call environment,$(VENV)-torch-$(OLDEST_TORCH),,$(OLDEST_TORCH))
	$(VENV)-torch-$(OLDEST_TORCH)/bin/python -m pytest -n 2 $(WITHOUT_EXPORT)

newest-torch: ## run the tests with the newest torch that was tried (downloads several GB)
	$(call environment,$(VENV)-torch-$(NEWEST_TORCH),,$(NEWEST_TORCH))
	$(VENV)-torch-$(NEWEST_TORCH)/bin/python -m pytest -n 2

pre-releases: ## run the tests with the newest pre-releases of the dependencies but torch
	$(call environment,$(VENV)-pre,--pre)
	$(VENV)-pre/bin/python -m pytest -n 2

real-nets: ## sample nets of many packages, and write benchmarks/real_nets.md
	$(call environment,$(VENV)-real-nets,--requirement benchmarks/requirements-real-nets.txt)
	$(VENV)-real-nets/bin/python benchmarks/real_nets.py

# What a user who has just installed the package would do, away from this folder.
define SMOKE_TEST
import numpy as np
from sk_mcdropout import MCDropoutRegressor, __version__
X = np.linspace(-3, 3, 100)[:, None]
mean, std = MCDropoutRegressor(max_epochs=5).fit(X, np.sin(X[:, 0])).predict(X, return_std=True)
assert mean.shape == std.shape == (100,) and (std > 0).all()
print("sk_mcdropout", __version__, "works")
endef
export SMOKE_TEST

dist: ## build wheel and sdist, and try both in an environment of their own
	rm -rf dist $(VENV)-dist
	$(PYTHON) -m venv $(VENV)-dist
	$(VENV)-dist/bin/python -m pip install --quiet --disable-pip-version-check build twine
	$(VENV)-dist/bin/python -m build --outdir dist
	$(VENV)-dist/bin/python -m twine check --strict dist/*
	$(PYTHON) -m venv --clear $(VENV)-dist
	$(VENV)-dist/bin/python -m pip install --quiet --disable-pip-version-check \
	    --constraint constraints.txt dist/*.whl
	cd / && "$(CURDIR)/$(VENV)-dist/bin/python" -c "$$SMOKE_TEST"
	$(VENV)-dist/bin/python -m pip install --quiet --disable-pip-version-check \
	    --force-reinstall --no-deps dist/*.tar.gz
	cd / && "$(CURDIR)/$(VENV)-dist/bin/python" -c "$$SMOKE_TEST"

docs: ## build the site of the documentation in build/docs/html
	$(call environment,$(VENV)-docs,,,docs)
	OMP_NUM_THREADS=1 $(VENV)-docs/bin/python -m sphinx --fail-on-warning --keep-going \
	    -d build/docs/doctrees docs build/docs/html

site-tests: ## open the site that `make docs` built in a browser (installs Debian's chromium)
	$(call environment,$(VENV)-docs,,,docs)
	@{ which chromium && which chromedriver; } || { apt-get update -qq \
	    && apt-get install -y -qq --no-install-recommends chromium chromium-driver; }
	$(VENV)-docs/bin/python -m pytest docs/test_site.py

venv: ## make the environment .venv where there is no whole one
	$(call environment,$(VENV))

clean: ## remove the environments and all that was built
	rm -rf $(VENV) $(VENV)-* build dist *.egg-info .coverage htmlcov .*_cache \
	    docs/api/backreferences docs/api/generated docs/auto_examples docs/tables
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
