"""How Sphinx builds the site; `make docs` runs it.

Pages are written in MyST Markdown, the gallery is made of ``examples/``, the tables of
``benchmarks/`` and the API of the docstrings. Nothing is fetched while it is built or read.
"""

import importlib
import inspect
import re
import shutil
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from skorch import NeuralNet

import sk_mcdropout

HERE = Path(__file__).parent
DOORS = [f"sk_mcdropout.{path.parent.name}" for path in HERE.glob("../sk_mcdropout/*/__init__.py")]
FOR_PACKAGES = "For the other packages"
# The methods of skorch's nets that users call; the others are steps, which ours override.
OF_SKORCH = {"fit", "partial_fit", "predict", "predict_proba", "save_params", "load_params"}


def public_names(door):
    """Return the functions and classes that a package offers, by the path below sk_mcdropout."""
    module = importlib.import_module(door)
    internal = re.findall(r"`(\w+)`", module.__doc__.partition(FOR_PACKAGES)[2])
    return [
        name if name in sk_mcdropout.__all__ else f"{door.split('.')[1]}.{name}"
        for name in module.__all__
        if name not in internal and callable(getattr(module, name))
    ]


project = "sk_mcdropout"
author = project_copyright = "the sk_mcdropout developers"
version = release = sk_mcdropout.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["auto_examples/**/*.ipynb"]
templates_path = ["_templates"]
nitpicky = True
# Single backticks hold parameters, too, as scikit-learn's do, which are no targets.
default_role = "py:obj"
nitpick_ignore_regex = [("py:obj", ".*")]

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_preserve_defaults = True
autodoc_typehints = "none"
autosummary_context = {"public": {door: public_names(door) for door in DOORS}}
numpydoc_show_class_members = False
toc_object_entries_show_parents = "hide"

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"\.py$",
    "doc_module": ("sk_mcdropout",),
    "reference_url": {"sk_mcdropout": None},
    "backreferences_dir": "api/backreferences",
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
    "capture_repr": ("_repr_html_",),
}

html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "logo": {"text": project, "image_light": "_static/logo.svg", "image_dark": "_static/logo.svg"},
    "header_links_before_dropdown": 7,
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
# Only pages with others below them have a bar of these.
html_sidebars = {"*": [], "benchmarks": ["sidebar-collapse", "sidebar-nav-bs"]}
html_context = {"default_mode": "auto"}
html_title = f"{project} {version}"
html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["llms.txt"]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_copy_source = False


# -- pages that are made of other folders ------------------------------------------------------


def remove_leftovers(app):
    """Remove the pages of examples and of names that are no more, which the last build left."""
    names = {*DOORS, *(f"sk_mcdropout.{name}" for door in DOORS for name in public_names(door))}
    for page in (HERE / "api" / "generated").glob("*.rst"):
        if page.stem not in names:
            page.unlink()
    for page in (HERE / "auto_examples").rglob("*.rst"):
        example = HERE.parent / "examples" / page.relative_to(HERE / "auto_examples")
        if page.stem != "index" and not example.with_suffix(".py").is_file():
            page.unlink()


def copy_tables(app):
    """Copy the benchmarks into the site, which shows their tables."""
    shutil.copytree(HERE.parent / "benchmarks", HERE / "tables", dirs_exist_ok=True)


def lead_to_pages(app, docname, source):
    """Let links to files of the repository, which are right there, lead to pages of the site."""
    text = re.sub(r"\]\((?:\.\./)+examples/([\w/]+)\.py\)", r"](/auto_examples/\1.rst)", source[0])
    text = re.sub(r"\]\((?:\.\./)+benchmarks/(\w+\.\w+)", r"](/tables/\1", text)
    text = re.sub(r"\]\((?:\.\./)+([A-Z]+\.md)", lambda link: f"](/{link[1].lower()}", text)
    # An example says where on this machine its picture lies.
    source[0] = re.sub(r"(The picture is in )/.*/(\w+\.png)", r"\1\2", text)


# -- the API -----------------------------------------------------------------------------------


def leave_out_what_is_for_packages(app, what, name, thing, options, lines):
    """Cut the docstring of a package where it tells what is not for users."""
    if what == "module" and any(line.startswith(FOR_PACKAGES) for line in lines):
        (cut, *_) = (i for i, line in enumerate(lines) if line.startswith(FOR_PACKAGES))
        del lines[cut:]


def skip_what_is_inherited(app, what, name, thing, skip, options):
    """Show the methods and properties that this package wrote, and not its steps of skorch's."""
    is_step = name in vars(NeuralNet) and name not in OF_SKORCH
    function = thing.fget if isinstance(thing, property) else inspect.unwrap(thing)
    written_here = getattr(function, "__module__", None) or ""
    return skip or is_step or not written_here.startswith("sk_mcdropout")


def find_by_last_name(app, env, node, contnode):
    """Resolve the name of a function or class without its package, where it is the only one."""
    domain = env.domains["py"]
    names = [
        name
        for name, entry in domain.objects.items()
        if entry.objtype in ("class", "function")
        and not entry.aliased
        and name.split(".")[-1] == node["reftarget"]
    ]
    if node.get("refdomain") != "py" or len(names) != 1:
        return None
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", names[0], node, contnode)


def lead_back_from_source(app, pagename, templatename, context, doctree):
    """Mend the links of `viewcode`, which takes all names of a file for those of one package."""
    if pagename.startswith("_modules/"):
        link = r"(/(sk_mcdropout\.(?:\w+\.)?(\w+))\.html#)[\w.]+?\.\3\b"
        context["body"] = re.sub(link, r"\1\2", context["body"])


# -- formulas without a script from elsewhere --------------------------------------------------


def show_formula(translator, node):
    """Write a formula as MathML, which browsers show by themselves."""
    as_block = isinstance(node, nodes.math_block)
    formula = tex2mathml(node.astext(), as_block=as_block)
    translator.body.append(f'<div class="formula">{formula}</div>' if as_block else formula)
    raise nodes.SkipNode


def setup(app):
    """Connect the functions above."""
    app.add_html_math_renderer("mathml", (show_formula, None), (show_formula, None))
    app.connect("builder-inited", remove_leftovers, priority=100)
    app.connect("builder-inited", copy_tables)
    app.connect("source-read", lead_to_pages)
    app.connect("autodoc-process-docstring", leave_out_what_is_for_packages, priority=400)
    app.connect("autodoc-skip-member", skip_what_is_inherited)
    app.connect("missing-reference", find_by_last_name)
    app.connect("html-page-context", lead_back_from_source)
