"""What the documentation says holds: its code runs, its lists are whole, its links lead somewhere.

A reader copies the README before reading anything else, so a block that fails is a bug.
"""

import ast
import csv
import importlib
import inspect
import re
import runpy
import subprocess
import sys
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from numpydoc.validate import validate

import sk_mcdropout
from sk_mcdropout.estimators._training import TrainingNet

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = ROOT / "docs"
GENERATED = {"_build", "api", "auto_examples", "tables"}  # pages that others make
PAGES = sorted(
    page for page in DOCS.rglob("*.md") if not GENERATED & {*page.relative_to(DOCS).parts}
)
EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
SOURCES = sorted((ROOT / "sk_mcdropout").rglob("*.py"))
PACKAGES = sorted(path.parent.name for path in ROOT.glob("sk_mcdropout/*/__init__.py"))
DOORS = [importlib.import_module(f"sk_mcdropout.{name}") for name in PACKAGES]
OPTIONAL = ["dask", "matplotlib", "pandas", "polars"]

ESTIMATORS = [
    sk_mcdropout.MCDropoutClassifier,
    sk_mcdropout.MCDropoutRegressor,
    sk_mcdropout.MCDropoutRegressorCV,
]

# What numpydoc would ask for and we do not, and what it asks of functions and classes alone.
NOT_ASKED = {
    "ES01",  # a longer summary
    "RT02",  # the type alone in the first line of Returns: scikit-learn writes `self : object`
    "SA01",  # a list of what to see also
}
NOT_ASKED_OF_METHODS = {
    "EX01",  # an example
    "PR03",  # their order: displays say in one line what several parameters have in common
    "PR04",  # their types: `X, y` are "as for `fit`"
    "RT01",  # what is returned
}


def public_names():
    """Return the functions and classes that the packages offer to users, by their paths."""
    paths = {}
    for door in DOORS:
        for_packages = re.findall(r"`(\w+)`", door.__doc__.partition("For the other packages")[2])
        for name in door.__all__:
            thing = getattr(door, name)
            if name not in for_packages and (inspect.isroutine(thing) or inspect.isclass(thing)):
                paths[f"{door.__name__}.{name}"] = thing
    return paths


def public_methods():
    """Return the methods of the public classes that this package wrote, by their paths."""
    return {
        f"{path}.{name}": method
        for path, cls in PUBLIC.items()
        if isinstance(cls, type)
        for name, method in inspect.getmembers(cls, inspect.isroutine)
        if name[0] != "_" and getattr(method, "__module__", "").startswith("sk_mcdropout")
    }


PUBLIC = public_names()
METHODS = public_methods()


def name_of(thing):
    return getattr(thing, "__name__", None) or thing.name


def place_of(page):
    return str(page.relative_to(DOCS))


def blocks_of(text):
    """Return the blocks of Python of a page that are run."""
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Run a file as a script, on one thread, in an empty directory and without a screen."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)

    def run(path, *args):
        monkeypatch.setattr(sys, "argv", [str(path), *args])
        return runpy.run_path(str(path), run_name="__main__")

    yield run
    plt.close("all")
    torch.set_num_threads(n_threads)


@pytest.fixture
def short_trainings(monkeypatch):
    """Let each training end after a few epochs: that code runs to its end needs no more."""
    choose = TrainingNet._choose_length

    def choose_less(net, X):
        choose(net, X)
        net.max_epochs_ = min(net.max_epochs_, 3)

    monkeypatch.setattr(TrainingNet, "_choose_length", choose_less)


# -- the README and the examples run ---------------------------------------------------------


@pytest.mark.usefixtures("short_trainings")
def test_the_code_of_the_readme_runs(script, tmp_path):
    blocks = blocks_of(README)
    assert len(blocks) == README.count("```python") > 0
    code = tmp_path / "readme.py"
    code.write_text("\n".join(blocks), encoding="utf-8")
    names = script(code)
    assert names["draws"].shape == (100, 1000, 1)


@pytest.mark.usefixtures("short_trainings")
@pytest.mark.parametrize("page", PAGES, ids=place_of)
def test_the_code_of_a_page_runs(page, script, tmp_path):
    code = tmp_path / "page.py"
    code.write_text("\n".join(blocks_of(page.read_text("utf-8"))), encoding="utf-8")
    script(code)


@pytest.mark.parametrize("page", PAGES, ids=place_of)
def test_a_page_says_why_code_of_it_is_not_run(page):
    text = page.read_text("utf-8")
    reasons = re.findall(r"^(.+)\n\n```python no-run\n", text, flags=re.MULTILINE)
    assert text.count("```python") == len(blocks_of(text)) + len(reasons)
    tried = re.compile(r"[Tt]ried with [\w-]+ \d+\.\d+")
    assert [reason for reason in reasons if not tried.search(reason)] == []


@pytest.mark.parametrize("page", PAGES, ids=place_of)
def test_the_links_of_a_page_lead_to_files(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).is_file()] == []


@pytest.mark.parametrize("page", [ROOT / "docs" / "benchmarks.md"], ids=name_of)
def test_the_numbers_of_a_page_stand_in_the_tables_that_it_links_to(page):
    number = re.compile(r"(?<![\d.])-?\d+\.\d+(?!\.?\d)")
    sections = [text for text in page.read_text("utf-8").split("\n## ") if "../benchmarks/" in text]
    assert len(sections) > 5
    for text in sections:
        links = re.findall(r"\]\((../benchmarks/[^)]+)", text)
        tables = "".join((page.parent / link).read_text("utf-8") for link in links)
        assert set(number.findall(text)) - set(number.findall(tables)) == set()


def test_the_numbers_of_the_home_page_are_those_of_the_tables():
    def rows_of(name, **wanted):
        with (ROOT / "benchmarks" / name).open(encoding="utf-8", newline="") as file:
            return [row for row in csv.DictReader(file) if wanted.items() <= row.items()]

    times = {
        row["contender"]: float(row["milliseconds"])
        for row in rows_of("speed.csv", case="8-50-1, 10,000 rows")
    }
    ours = times.pop("MCDropoutRegressor")
    for other in ("batchbald_redux", "GaussianProcessRegressor", "limit"):
        del times[other]  # another net, another model, no model
    calibrated = rows_of(
        "uci_uncertainty.csv", model="noise='heteroscedastic'", calibration="conformal"
    )
    good = sum(0.87 <= float(row["coverage"]) <= 0.93 for row in calibrated)
    nets = rows_of("real_nets.csv")
    lawful = sum(row["laws"] == "all hold" for row in nets)
    home = (ROOT / "docs" / "index.md").read_text("utf-8")
    assert re.findall(r"\*\*(\d.*?)\*\*", home) == [
        f"{min(times.values()) / ours:.0f} times",
        f"{good} of {len(calibrated)}",
        f"{lawful} of {len(nets)}",
    ]


def test_the_likelihoods_in_the_readme_are_those_of_the_table():
    with (ROOT / "benchmarks" / "uci.csv").open(encoding="utf-8", newline="") as file:
        measured = {(row["set"], row["protocol"]): float(row["ll"]) for row in csv.DictReader(file)}
    line = r"^\| (\S+)(?: \\\*)? \| (-?\d\.\d\d) \| (-?\d\.\d\d) \|"
    told = re.findall(line, (ROOT / "README.md").read_text("utf-8"), flags=re.MULTILINE)
    assert {name for name, *_ in told} == {name for name, _ in measured}
    for name, *numbers in told:
        lines = [measured[name, protocol] for protocol in ("best", "default")]
        assert_allclose([float(number) for number in numbers], lines, atol=0.005 + 1e-9)


def test_the_api_names_every_package():
    api = (ROOT / "docs" / "api" / "index.rst").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^   (\w+)$", api, flags=re.MULTILINE)) == PACKAGES


# One example shows what the intervals of a net without noise hold, of which the net warns.
@pytest.mark.filterwarnings("ignore:`noise` must be given for an interval:UserWarning")
@pytest.mark.usefixtures("short_trainings")
@pytest.mark.parametrize(
    "example",
    [
        pytest.param(path, marks=[pytest.mark.slow] if path.parent.name != "examples" else [])
        for path in EXAMPLES
    ],
    ids=name_of,
)
def test_an_example_runs_and_says_where_its_picture_is(example, script, tmp_path, capsys):
    script(example)
    (picture,) = tmp_path.glob("*.png")
    assert f"The picture is in {picture.resolve()}" in capsys.readouterr().out


def test_the_demo_is_less_sure_outside_its_data(script, tmp_path):
    demo = script(ROOT / "examples" / "plot_dropout_sampling.py", "chosen.png")
    assert [path.name for path in tmp_path.iterdir()] == ["chosen.png"]
    x, std = np.abs(demo["x"]), demo["std"]
    assert np.abs(demo["x_train"]).max() <= 3
    # 3 is what was promised; six seeds gave from 6 to 8.
    assert std[x > 4].mean() >= 3 * std[x < 2].mean()


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_an_example_is_short_and_has_cells(example):
    text = example.read_text(encoding="utf-8")
    n_lines = len(text.splitlines())
    assert n_lines <= 80
    assert "\n# %%\n" in text


def test_the_links_of_the_readme_lead_to_files():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert [link for link in links if not (ROOT / link).is_file()] == []
    assert {str(example.relative_to(ROOT)) for example in EXAMPLES} <= set(links)


def test_the_readme_names_real_targets_of_make():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"`make ([a-z-]+)`", README)
    assert {"demo", "test"} <= set(targets)
    assert [name for name in targets if not re.search(rf"^{name}:", makefile, re.M)] == []


def test_the_picture_of_the_readme_is_small():
    assert (ROOT / "docs" / "dropout_sampling.png").stat().st_size < 100_000


# -- the docstrings are whole ------------------------------------------------------------------


def section(thing, title):
    """Return one section of a numpydoc docstring."""
    parts = re.split(r"^(.+)\n-{3,}\n", inspect.getdoc(thing) or "", flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True)).get(title, "")


def faults(path, ignored):
    """Return what numpydoc finds wrong with the docstring of a name."""
    return [f"{code} {text}" for code, text in validate(path)["errors"] if code not in ignored]


@pytest.mark.parametrize("path", PUBLIC)
def test_the_docstring_of_a_public_name_is_whole(path):
    elsewhere = "The parameters are those of `" in inspect.getdoc(PUBLIC[path])
    assert faults(path, NOT_ASKED | ({"PR01"} if elsewhere else set())) == []


def test_mean_and_std_has_the_parameters_of_sample():
    sample, mean_and_std = sk_mcdropout.sample, sk_mcdropout.mean_and_std
    assert [*inspect.signature(mean_and_std).parameters] == [*inspect.signature(sample).parameters]


@pytest.mark.parametrize("path", METHODS)
def test_the_docstring_of_a_public_method_lists_all_parameters_or_none(path):
    ignored = NOT_ASKED | NOT_ASKED_OF_METHODS
    if not section(METHODS[path], "Parameters"):
        ignored = ignored | {"PR01"}
    assert faults(path, ignored) == []


@pytest.mark.parametrize("path", PUBLIC)
def test_the_example_of_a_public_name_is_short(path):
    examples = section(PUBLIC[path], "Examples").splitlines()
    assert len([line for line in examples if line.startswith(">>>")]) <= 8


@pytest.mark.parametrize("kind", ESTIMATORS, ids=lambda kind: kind.__name__)
def test_defaults_are_said_as_they_are(kind):
    signature = inspect.signature(kind).parameters
    lines = section(kind, "Parameters").splitlines()
    said = dict(re.findall(r"^(\w+) : .*default=(.+)$", "\n".join(lines), flags=re.MULTILINE))
    defaults = {
        name: getattr(p.default, "__name__", repr(p.default))
        for name, p in signature.items()
        if p.kind is not p.VAR_KEYWORD
    }
    assert said == defaults


# -- the package stays small and light -----------------------------------------------------------


def code_lines(path):
    """Return the lines of a file that hold code: no docstrings, comments or blanks."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            docstring = slice(node.lineno - 1, node.end_lineno)
            lines[docstring] = [""] * len(lines[docstring])
    return [line for line in lines if line.strip() and not line.strip().startswith("#")]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source.relative_to(ROOT)))
def test_a_file_is_one_sitting_long(source):
    assert len(code_lines(source)) <= 250


def run_python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_loads_no_optional_package():
    # scikit-learn itself loads pandas where it is installed, so it goes first.
    code = (
        "import sys, sklearn, skorch; before = set(sys.modules); import sk_mcdropout; "
        f"print([name for name in {OPTIONAL} if name in set(sys.modules) - before])"
    )
    assert run_python(code) == "[]"


def test_the_package_imports_where_no_optional_package_is_installed():
    code = f"import sys; sys.modules.update(dict.fromkeys({OPTIONAL})); import sk_mcdropout"
    assert run_python(code) == ""
