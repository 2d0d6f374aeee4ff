"""What the benchmarks write: what a table was made with, and the table as Markdown and as CSV."""

import csv
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
PACKAGES = ("sk-mcdropout", "torch", "skorch", "scikit-learn", "numpy")
STYLES = [
    ({"color": "#555555"}, {"linestyle": "--"}),
    ({"color": "#D55E00"}, {"linestyle": "-."}),
    ({"color": "#0072B2"}, {"linestyle": "-"}),
]
SEPARATORS = {"l": "---", "r": "---:", "c": ":---:"}


def intro(text, command, packages=PACKAGES):
    """Return the text above a table, with the command and what the numbers were made with."""
    threads = os.environ.get("OMP_NUM_THREADS")
    variable = f"OMP_NUM_THREADS={threads} " if threads else ""
    return (
        f"{text}\nCommand: `{variable}python benchmarks/{command}`\n\n"
        f"Made with Python {platform.python_version()}, {versions(packages)}, on {machine()}.\n\n"
    )


def versions(packages):
    """Return the packages with their versions, or that they are missing."""
    return ", ".join(f"{name} {_version(name)}" for name in packages)


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def machine():
    """Return the system, the name of the processor and the number of its cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = (line.split(":")[1].strip() for line in lines if "model name" in line)
    processor = next(names, platform.processor())
    return f"{platform.system()} {platform.machine()} ({processor}), {os.cpu_count()} cores"


def markdown(columns, rows, align):
    """Return a Markdown table; ``align`` has l, r or c for each column."""
    separator = "|".join(SEPARATORS[letter] for letter in align)
    lines = [f"| {' | '.join(map(str, cells))} |" for cells in (columns, *rows)]
    return "\n".join([lines[0], f"|{separator}|", *lines[1:]]) + "\n"


def draw(name, panels, **labels):
    """Draw a picture of curves: their median, and the range over the seeds.

    Parameters
    ----------
    name : str
        Name of the file, without its ending.
    panels : dict of (str, dict of (str, (x, values)))
        The curves of each panel by their names; values of shape (n_seeds, len(x)).
    **labels : dict
        What ``Axes.set`` takes, for each panel.

    Returns
    -------
    str
        The line of Markdown that shows the picture.
    """
    fig, axes = figure(len(panels))
    for ax, (title, curves) in zip(axes, panels.items(), strict=True):
        for (label, (x, values)), style in zip(curves.items(), STYLES, strict=False):
            ax.fill_between(x, *np.quantile(values, [0, 1], axis=0), alpha=0.15, **style[0])
            ax.plot(x, np.median(values, axis=0), label=label, **style[0], **style[1])
        ax.set(title=title, **labels)
    axes[-1].legend(frameon=False)
    return save(name, fig)


def figure(n_panels):
    """Return a figure that no window shows, and its axes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    size = (5.5 * n_panels, 4)
    fig, axes = plt.subplots(1, n_panels, figsize=size, layout="constrained", squeeze=False)
    return fig, axes[0]


def save(name, fig):
    """Save a picture beside its report, and return the line of Markdown that shows it."""
    fig.savefig(HERE / f"{name}.png", dpi=100)
    return f"![Medians, and ranges over the seeds, of what the table has.]({name}.png)\n\n"


def write(name, text, columns, rows):
    """Write a report as Markdown, and its numbers as CSV."""
    (HERE / f"{name}.md").write_text(text, encoding="utf-8")
    with (HERE / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])
