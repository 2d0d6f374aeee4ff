"""What the benchmarks write: what a table was made with, and the table as Markdown and as CSV."""

import csv
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGES = ("sk-mcdropout", "torch", "skorch", "scikit-learn", "numpy")
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


def write(name, text, columns, rows):
    """Write a report as Markdown, and its numbers as CSV."""
    (HERE / f"{name}.md").write_text(text, encoding="utf-8")
    with (HERE / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])
