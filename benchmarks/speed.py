"""Time ``predict(X, return_std=True)`` against what people use instead.

``python benchmarks/speed.py`` times each case against each rival in the same run, in turn, and
writes ``speed.md`` and ``speed.csv`` beside this file. ``--growth`` and ``--training`` instead
write ``speed_growth`` and ``speed_training``. The rivals are installed with
``pip install --no-deps --requirement benchmarks/requirements-NAME.txt``, one file for each; one
that is not there is named in the table with its error.
"""

import argparse
import cProfile
import csv
import gc
import platform
import pstats
import statistics
import warnings
from collections import Counter
from functools import partial
from pathlib import Path
from time import perf_counter

import torch
from speed_cases import CASES, N_DRAWS, draw_rows
from speed_growth import growth
from speed_rivals import FEW_DRAWS, REWRITTEN, RIVALS, draws_to_time, versions
from speed_training import training

from sk_mcdropout import MCDropoutRegressor

HERE = Path(__file__).parent
OURS, GPR, LIMIT = "MCDropoutRegressor", "GaussianProcessRegressor", "limit"
LEAST_SECONDS = 0.1  # that a call is repeated for, each time it is timed
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

Command: `python benchmarks/speed.py`

Made with Python {python}, {versions}, on {machine}.

"""


def ours(net, x):
    """Answer our public call."""
    estimator = MCDropoutRegressor(net, n_draws=N_DRAWS, random_state=0).initialize()
    return partial(estimator.predict, x.numpy(), return_std=True)


def gaussian_process(x):
    """Answer the call of a Gaussian process that has 1,000 rows and a kernel as it is."""
    from sklearn.gaussian_process import GaussianProcessRegressor

    generator = torch.Generator().manual_seed(1)
    X = torch.randn(1_000, x.shape[1], generator=generator)
    process = GaussianProcessRegressor(optimizer=None, alpha=0.1).fit(X, X.sum(1))
    return partial(process.predict, x.numpy(), return_std=True)


def summarised(draws):
    """Answer mean and standard deviation of draws; some rivals answer them by themselves."""
    return draws if isinstance(draws, tuple) else (draws.mean(0), draws.std(0))


def in_batches(rival, x, n_rows):
    """Answer mean and standard deviation by a rival, for so many rows at once."""
    # The encoder's fast path skips the dropouts of those that leave the layer in eval mode.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            parts = [summarised(rival(part)) for part in x.split(n_rows)]
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    return [torch.cat(part).numpy() for part in zip(*parts, strict=True)]


def seconds(run, number=1):
    """Answer the time of a call."""
    gc.collect()
    start = perf_counter()
    for _ in range(number):
        run()
    return (perf_counter() - start) / number


def best_batches(rival, x, choose):
    """Answer the call of a rival, maybe with the number of rows at once that suits it best."""
    sizes = [n for n in BATCHES if n < len(x) and choose] + [len(x)]
    runs = [partial(in_batches, rival, x, n) for n in sizes]
    runs[0]()
    return min(runs, key=seconds) if len(runs) > 1 else runs[0]


def contenders(case):
    """Answer name -> (call, factor of its time), and name -> error for those that fail."""
    torch.manual_seed(0)
    net, x = case.net(), draw_rows(case)
    calls, errors = {OURS: (ours(net, x), 1)}, {}
    _, our_std = calls[OURS][0]()
    for name, make in RIVALS.items():
        n_draws = draws_to_time(name, case.rival_draws, N_DRAWS)
        try:
            call = best_batches(make(net, n_draws), x, name not in FEW_DRAWS)
            _, std = call()
        except Exception as error:
            errors[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        off = n_draws > 5 and len(x) > 1 and not 0.8 < std.mean() / our_std.mean() < 1.25
        errors |= {f"{name} std": f"{std.mean() / our_std.mean():.2f} of ours"} if off else {}
        calls[name] = (call, N_DRAWS / n_draws)
    if x.ndim == 2 and x.shape[1] == 8:
        calls[GPR] = (gaussian_process(x), 1)
    if case.limit:
        calls[LIMIT] = (case.limit(net, x), 1)
    return calls, errors


def measure(case, repeats):
    """Answer the row of a case, name -> milliseconds; what went wrong; where the time goes."""
    calls, errors = contenders(case)
    numbers = {
        name: max(1, int(LEAST_SECONDS / seconds(call))) for name, (call, _) in calls.items()
    }
    times = {name: [] for name in calls}
    for _ in range(repeats):
        for name, (call, factor) in calls.items():
            times[name].append(1e3 * factor * seconds(call, numbers[name]))
    row = {name: statistics.median(t) for name, t in times.items()}
    missed = any(met is False for *_, met in verdicts(case, row))
    return row, errors, profile(calls[OURS][0]) if missed else ""


def profile(call, n_calls=50):
    """Answer where the time of a call goes: by package, and the functions that take most."""
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
    """Answer whose code a function is; what is not written in Python goes by its name."""
    parts = Path(file).parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    if file == "~":
        return "torch's kernels" if "torch" in name or "Tensor" in name else "Python's builtins"
    return "sk_mcdropout" if "sk_mcdropout" in parts else "Python"


def _short(name):
    return name.replace("built-in method ", "").strip("<>{}").partition(" of ")[0]


def verdicts(case, row):
    """Answer (what is compared, ratio, target, whether it is met)."""
    rivals = {name: row[name] for name in RIVALS if name in row and name != REWRITTEN}
    fastest = min(rivals, key=rivals.get)
    lines = [(f"times faster than {fastest}", rivals[fastest] / row[OURS], case.times_faster)]
    if REWRITTEN in row:
        lines += [(f"times faster than {REWRITTEN}", row[REWRITTEN] / row[OURS],
                   case.times_rewritten)]  # fmt: skip
    answers = [(what, ratio, t and f"at least {t:g}", t and ratio >= t) for what, ratio, t in lines]
    if LIMIT in row:
        ratio, t = row[OURS] / row[LIMIT], case.times_limit
        answers.append((f"times {case.limit_is}", ratio, t and f"at most {t:g}", t and ratio <= t))
    return answers


def as_tables(rows):
    """Answer the tables of the times and of the targets, and the list of errors."""
    names = [OURS, *RIVALS, GPR, LIMIT]
    lines = ["| case | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    ratios = ["| case | ours is | | target | met |", "|---|---|---:|---|:---:|"]
    notes = []
    for case, row, errors, _ in rows:
        cells = [_cell(case, row, errors, name) for name in names]
        lines.append(f"| {case.name} | " + " | ".join(cells) + " |")
        for what, ratio, target, met in verdicts(case, row):
            answer = "" if target is None else ("yes" if met else "**no**")
            ratios.append(f"| {case.name} | {what} | {ratio:.2f} | {target or ''} | {answer} |")
        notes += [f"- {case.name}, {name}: {error}" for name, error in errors.items()]
    missed = [f"- {case.name}: {why}" for case, _, _, why in rows if why]
    parts = ["\n".join(lines), "\n".join(ratios)]
    parts += ["Where the time goes in the cases that miss a target:", "\n".join(missed)] * any(
        missed
    )
    return "\n\n".join([*parts, "Missing, or another standard deviation:", "\n".join(notes)]) + "\n"


def _cell(case, row, errors, name):
    if name not in row:
        return "error" if name in errors else ""
    scaled = name in RIVALS and draws_to_time(name, case.rival_draws, N_DRAWS) < N_DRAWS
    return f"{row[name]:.3g}" + "*" * scaled + "†" * (f"{name} std" in errors)


def write(name, text, table):
    """Print and write a table as Markdown and as CSV."""
    print(text)
    (HERE / f"{name}.md").write_text(text, encoding="utf-8")
    with (HERE / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(table)


def machine():
    """Answer the name of the processor and the number of its cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    return f"{platform.system()} {platform.machine()} ({model})"


def speed(facts, chosen):
    """Time the cases against the rivals."""
    rows = []
    for case in CASES:
        if chosen in case.name:
            start = perf_counter()
            rows.append((case, *measure(case, facts["repeats"])))
            print(f"{case.name}: {perf_counter() - start:.0f} s", flush=True)
    table = [("case", "contender", "milliseconds", "note")]
    for case, row, errors, _ in rows:
        table += [(case.name, n, f"{t:.4g}", errors.get(f"{n} std", "")) for n, t in row.items()]
        table += [(case.name, n, "", error) for n, error in errors.items() if n in RIVALS]
    sizes = ", ".join(f"{n:,}" for n in BATCHES)
    intro = INTRO.format(n_draws=N_DRAWS, least=LEAST_SECONDS, batches=sizes, **facts)
    if chosen:
        print(intro + as_tables(rows))
    else:
        write("speed", intro + as_tables(rows), table)


def main():
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--growth", action="store_true", help="time and memory by size instead")
    parser.add_argument("--training", action="store_true", help="the time of `fit` instead")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--case", default="", help="print only the cases with this in their name")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)
    facts = {"threads": args.threads, "repeats": args.repeats, "machine": machine()}
    facts |= {"python": platform.python_version(), "versions": versions()}
    if args.growth:
        write("speed_growth", *growth(facts))
    if args.training:
        write("speed_training", *training(facts))
    if not args.growth and not args.training:
        speed(facts, args.case)


if __name__ == "__main__":
    main()
