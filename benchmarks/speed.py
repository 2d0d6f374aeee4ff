"""Time ``predict(X, return_std=True)`` against what people use instead.

``python benchmarks/speed.py`` times each case against each rival in the same run, in turn, and
writes ``speed.md`` and ``speed.csv`` beside this file. The rivals are installed with
``pip install --no-deps --requirement benchmarks/requirements-NAME.txt``, one file for each; one
that is missing is named in the table with its error. With ``--case`` or ``--against`` the table is
printed only.
"""

import argparse
import cProfile
import pstats
import warnings
from collections import Counter
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import torch
from _report import PACKAGES, intro, markdown, write
from _timing import LEAST_SECONDS, medians_in_turn, seconds
from speed_against import compare
from speed_cases import CASES, N_DRAWS, Case, net_and_rows, our_call
from speed_rivals import FEW_DRAWS, REWRITTEN, RIVALS, draws_to_time
from speed_rivals import PACKAGES as RIVAL_PACKAGES

OURS, GPR, LIMIT = "MCDropoutRegressor", "GaussianProcessRegressor", "limit"
BATCHES = (100, 1_000)  # rows at once that each rival may choose from, beside all

INTRO = """\
# Speed of `predict(X, return_std=True)`

{n_draws} draws, {threads} threads, times in milliseconds: medians of {repeats}, all contenders in
turn in one run, each repeated for {least:g} s when it is its turn. Each rival takes as many rows
at once as it was fastest with: {batches} or all.
The limit is the matrix products alone that the draws need (each layer the fastest of several
ways), unless it is said otherwise. `batchbald_redux` needs the net rewritten in its classes and is
not among the rivals of "fastest". `GaussianProcessRegressor` is another model, fitted to 1,000
rows. `*`: some of the draws were timed, and their time multiplied, since all passes are alike.
`†`: the mean standard deviation is more than a fifth off ours. baal and torch-uncertainty leave the
dropout of attention off; torch's fast path, which skips an encoder's dropouts, is off for them.
"""


class Result(NamedTuple):
    """What was measured of a case; ``errors`` has a line for a rival that fails or differs."""

    case: Case
    milliseconds: dict
    errors: dict
    profile: str


def gaussian_process(x):
    """Return the call of a Gaussian process that has 1,000 rows and a kernel as it is."""
    from sklearn.gaussian_process import GaussianProcessRegressor

    generator = torch.Generator().manual_seed(1)
    X = torch.randn(1_000, x.shape[1], generator=generator)
    process = GaussianProcessRegressor(optimizer=None, alpha=0.1).fit(X, X.sum(1))
    return partial(process.predict, x.numpy(), return_std=True)


def summarised(draws):
    """Return mean and standard deviation of draws; some rivals return them by themselves."""
    return draws if isinstance(draws, tuple) else (draws.mean(0), draws.std(0))


def in_batches(rival, x, n_rows):
    """Return mean and standard deviation by a rival, for so many rows at once."""
    # The encoder's fast path skips the dropouts of those that leave the layer in eval mode.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            parts = [summarised(rival(part)) for part in x.split(n_rows)]
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    return [torch.cat(part).numpy() for part in zip(*parts, strict=True)]


def best_batches(rival, x, choose):
    """Return the call of a rival, maybe with the number of rows at once that suits it best."""
    sizes = [n for n in BATCHES if n < len(x) and choose] + [len(x)]
    runs = [partial(in_batches, rival, x, n) for n in sizes]
    runs[0]()
    return min(runs, key=seconds) if len(runs) > 1 else runs[0]


def draws_timed(case, name):
    """Return how many draws of a contender are timed."""
    if name in RIVALS:
        return draws_to_time(name, case.rival_draws, N_DRAWS)
    return case.our_draws if name in (OURS, LIMIT) else N_DRAWS


def contenders(case):
    """Return name -> call, name -> factor of its time, and name -> error of those that fail."""
    net, x = net_and_rows(case)
    calls, factors, errors = {OURS: our_call(net, x, case.our_draws)}, {}, {}
    factors[OURS] = factors[LIMIT] = N_DRAWS / draws_timed(case, OURS)
    _, our_std = calls[OURS]()
    for name, make in RIVALS.items():
        n_draws = draws_timed(case, name)
        try:
            call = best_batches(make(net, n_draws), x, name not in FEW_DRAWS)
            _, std = call()
        except Exception as error:
            errors[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        ratio = std.mean() / our_std.mean()
        if n_draws > 5 and len(x) > 1 and not 0.8 < ratio < 1.25:
            errors[f"{name} std"] = f"{ratio:.2f} of ours"
        calls[name], factors[name] = call, N_DRAWS / n_draws
    if x.ndim == 2 and x.shape[1] == 8:
        calls[GPR] = gaussian_process(x)
    if case.limit:
        calls[LIMIT] = case.limit(net, x)
    return calls, factors, errors


def measure(case, repeats):
    """Time the contenders of a case, and profile our call where it misses a target."""
    calls, factors, errors = contenders(case)
    times = medians_in_turn(calls, repeats)
    milliseconds = {name: 1e3 * factors.get(name, 1) * time for name, time in times.items()}
    missed = any(met is False for *_, met in verdicts(case, milliseconds))
    return Result(case, milliseconds, errors, profile(calls[OURS]) if missed else "")


def profile(call, n_calls=50):
    """Return where the time of a call goes: by package, and the functions that take most."""
    profiler = cProfile.Profile()
    profiler.runcall(lambda: [call() for _ in range(n_calls)])
    own = {of: line[2] for of, line in pstats.Stats(profiler).stats.items()}
    total, packages = sum(own.values()), Counter()
    for (file, _, name), time in own.items():
        packages[_package(file, name)] += time
    shares = [f"{name} {share / total:.0%}" for name, share in packages.most_common(6)]
    most = sorted(own, key=own.get, reverse=True)[:6]
    functions = [
        f"`{_short(name)}` {own[file, line, name] / total:.0%}" for file, line, name in most
    ]
    return f"{', '.join(shares)}; the functions that take most: {', '.join(functions)}"


def _package(file, name):
    """Return whose code a function is; what is not written in Python goes by its name."""
    parts = Path(file).parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    if file == "~":
        return "torch's kernels" if "torch" in name or "Tensor" in name else "Python's builtins"
    return "sk_mcdropout" if "sk_mcdropout" in parts else "Python"


def _short(name):
    return name.replace("built-in method ", "").strip("<>{}").partition(" of ")[0]


def verdicts(case, milliseconds):
    """Return a list of (what is compared, ratio, target, whether it is met)."""
    ours = milliseconds[OURS]
    rivals = {name: milliseconds[name] for name in RIVALS if name in milliseconds}
    rewritten = rivals.pop(REWRITTEN, None)
    fastest = min(rivals, key=rivals.get)
    faster = [(fastest, rivals[fastest], case.times_faster)]
    if rewritten is not None:
        faster.append((REWRITTEN, rewritten, case.times_rewritten))
    lines = []
    for name, theirs, target in faster:
        met = target and theirs / ours >= target
        lines.append((f"times faster than {name}", theirs / ours, _bound("least", target), met))
    if LIMIT in milliseconds:
        ratio, target = ours / milliseconds[LIMIT], case.times_limit
        met = target and ratio <= target
        lines.append((f"times {case.limit_is}", ratio, _bound("most", target), met))
    return lines


def _bound(side, target):
    return "" if target is None else f"at {side} {target:g}"


def times_table(results):
    """Return the Markdown table of the times."""
    names = [OURS, *RIVALS, GPR, LIMIT]
    rows = [(result.case.name, *(_cell(result, name) for name in names)) for result in results]
    return markdown(["case", *names], rows, "l" + "r" * len(names))


def targets_table(results):
    """Return the Markdown table of the ratios and the targets."""
    answers = {None: "", True: "yes", False: "**no**"}
    rows = [
        (result.case.name, what, f"{ratio:.2f}", target, answers[met])
        for result in results
        for what, ratio, target, met in verdicts(result.case, result.milliseconds)
    ]
    return markdown(("case", "ours is", "", "target", "met"), rows, "llrlc")


def notes(results):
    """Return the profiles of the cases that miss a target, and the errors of the rivals."""
    profiles = [f"- {case.name}: {profile}" for case, _, _, profile in results if profile]
    lines = []
    if profiles:
        lines += ["Where the time goes in the cases that miss a target:\n", *profiles, ""]
    lines.append("Missing, or another standard deviation:\n")
    for case, _, errors, _ in results:
        lines += [f"- {case.name}, {name}: {error}" for name, error in errors.items()]
    return "\n".join(lines) + "\n"


def _cell(result, name):
    if name not in result.milliseconds:
        return "error" if name in result.errors else ""
    scaled = draws_timed(result.case, name) < N_DRAWS
    marks = "*" * scaled + "†" * (f"{name} std" in result.errors)
    return f"{result.milliseconds[name]:.3g}{marks}"


def as_rows(result):
    """Return the rows of a case in the CSV file."""
    case, milliseconds, errors, _ = result
    rows = []
    for name, time in milliseconds.items():
        rows.append((case.name, name, f"{time:.4g}", errors.get(f"{name} std", "")))
    return rows + [(case.name, name, "", errors[name]) for name in RIVALS if name in errors]


def speed(threads, repeats, chosen):
    """Time the chosen cases against the rivals, and return the report and the rows for the CSV."""
    results = []
    for case in (case for case in CASES if chosen in case.name):
        start = perf_counter()
        results.append(measure(case, repeats))
        print(f"{case.name}: {perf_counter() - start:.0f} s", flush=True)
    sizes = ", ".join(f"{n:,}" for n in BATCHES)
    facts = {"n_draws": N_DRAWS, "least": LEAST_SECONDS, "batches": sizes}
    text = INTRO.format(threads=threads, repeats=repeats, **facts)
    text = intro(text, "speed.py", PACKAGES + RIVAL_PACKAGES)
    text += "\n".join([times_table(results), targets_table(results), notes(results)])
    return text, [row for result in results for row in as_rows(result)]


def main():
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--case", default="", help="print only the cases with this in their name")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="DIR",
        help="print only our calls beside those of the checkout of this repository in DIR",
    )
    args = parser.parse_args()
    if not any(args.case in case.name for case in CASES):
        parser.error(f"`--case` must be part of the name of a case. Got {args.case!r}.")
    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)
    if args.against:
        print(compare(args.against.resolve(), args.case, args.threads, args.repeats))
        return
    text, rows = speed(args.threads, args.repeats, args.case)
    print(text)
    if not args.case:
        write("speed", text, ("case", "contender", "milliseconds", "note"), rows)


if __name__ == "__main__":
    main()
