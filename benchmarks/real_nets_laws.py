"""The laws of ``real_nets.py``: what must hold for the draws of any net.

``LAWS`` maps the name of a law to a function that takes a `Case` and returns what breaks it, or
nothing. `real_dropouts` and `brute_force` know nothing of our package: they run the net in
training mode.
"""

import copy
import random
import re
import sys
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sk_mcdropout import dropout_sites, mean_and_std, sample
from sk_mcdropout.sampling import STRATEGIES

EXPECTED = "There is a performance drop"  # of vmap, where torch loops over the draws
TOLERANCE = 2.6  # of the ratio of two standard deviations, over the root of the number of draws


def map_tensors(function, x):
    """Apply a function to each tensor of an input."""
    if isinstance(x, Mapping):
        return {name: map_tensors(function, part) for name, part in x.items()}
    if isinstance(x, tuple):
        return tuple(map_tensors(function, part) for part in x)
    return function(x) if isinstance(x, Tensor) else x


def take(x, rows):
    """Return some rows of an input."""
    return map_tensors(lambda t: t[rows], x)


def n_rows(x):
    """Count the rows of an input."""
    lengths = []
    map_tensors(lambda t: lengths.append(len(t)), x)
    return lengths[0]


@torch.no_grad()
def predict(module, x):
    """Return the prediction of one pass."""
    output = (
        module(**x) if isinstance(x, dict) else module(*x) if isinstance(x, tuple) else module(x)
    )
    if isinstance(output, Mapping):
        output = tuple(output.values())
    return output[0] if isinstance(output, list | tuple) else output


def in_training(module):
    """Return a copy in training mode, with eval mode for what looks at other rows or counts."""
    module = copy.deepcopy(module).train()
    for part in module.modules():
        part.training = not isinstance(part, nn.modules.batchnorm._NormBase)
    return module


class RandomCalls(TorchDispatchMode):
    """Write down the submodules that draw random numbers with a rate above 0."""

    def __init__(self, module):
        super().__init__()
        self.paths = {part: path for path, part in module.named_modules()}
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **kwargs or {})
        if torch.Tag.nondeterministic_seeded in func.tags and _rate(func, args, kwargs or {}) > 0:
            self.calls.append(self._path())
        return result

    def _path(self):
        frame = sys._getframe(1)
        while frame is not None:
            owner = frame.f_locals.get("self")
            if isinstance(owner, nn.Module) and owner in self.paths:
                return self.paths[owner]
            frame = frame.f_back
        return ""


def _rate(func, args, kwargs):
    """Return the rate of a random operator of torch, 1 for one that has none."""
    names = [argument.name for argument in func._schema.arguments]
    given = dict(zip(names, args, strict=False)) | kwargs
    if "_fused_sdp_choice" in func.name():
        return 0
    if "bernoulli" in func.name() and isinstance(given.get("p"), float):
        return 1 - given["p"]  # the others take the chance to drop, bernoulli that to keep
    rate = given.get("dropout_p", given.get("p", 1 if "dropout_p" not in names else 0))
    return rate if given.get("train", True) else 0


def real_dropouts(module, x):
    """Count the random calls of each submodule in one pass in training mode."""
    module = in_training(module)
    with RandomCalls(module) as recorder:
        predict(module, x)
    return Counter(recorder.calls)


def brute_force(module, x, n_draws):
    """Return mean and standard deviation of passes in training mode."""
    module = in_training(module)
    torch.manual_seed(1)
    draws = torch.stack([predict(module, x) for _ in range(n_draws)])
    return draws.mean(0), draws.std(0)


@dataclass
class Case:
    """A net and a few rows, in double precision: what differs, differs by a mistake."""

    module: nn.Module
    x: object
    n_draws: int  # to compare with brute force
    warns: str = "(?!)"

    @cached_property
    def expected(self):
        """The draws of the loop."""
        return self.draws(strategy="loop")

    @cached_property
    def automatic(self):
        """The draws by the strategy that is chosen."""
        return self.draws()

    @cached_property
    def moments(self):
        """Our mean and standard deviation, and those of brute force."""
        ours = mean_and_std(self.module, self.x, self.n_draws)
        return *ours, *brute_force(self.module, self.x, self.n_draws)

    def draws(self, rows=None, n_draws=4, **options):
        """Return draws of all rows or some."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            x = self.x if rows is None else take(self.x, rows)
            return sample(self.module, x, n_draws, **options)


def close(actual, expected):
    """Say how far two results are apart that should be equal."""
    if actual.shape != expected.shape:
        return f"shapes {tuple(actual.shape)} and {tuple(expected.shape)}"
    scale = expected.abs().max().item()
    far = (actual - expected).abs().max().item() / scale if scale else 0
    return "" if far < 1e-7 else f"apart by {far:.1g} of the largest"  # nan is far, too


def auto_is_the_loop(case):
    return close(case.automatic, case.expected)


def each_strategy_is_the_loop(case):
    apart = {}
    for name in STRATEGIES:
        try:
            apart[name] = close(case.draws(strategy=name), case.expected)
        except Exception:
            continue  # it does not take the net
    return ", ".join(f"{name} {text}" for name, text in apart.items() if text)


def rows_stand_alone(case):
    expected, n = case.automatic, n_rows(case.x)
    for rows in ([n - 1, 0, n // 2, n - 1], [n // 2]):
        if apart := close(case.draws(rows), expected[:, rows]):
            return f"rows {rows} {apart}"
    return ""


def batch_size_is_free(case):
    apart = {size: close(case.draws(batch_size=size), case.automatic) for size in (1, 2)}
    return ", ".join(f"{size} {text}" for size, text in apart.items() if text)


def first_draws_stay(case):
    return close(case.draws(n_draws=9)[:4], case.automatic)


def seed_repeats(case):
    torch.rand(3)
    if not torch.equal(case.automatic, case.draws(seed=0)):
        return "the same seed gave other draws"
    return "" if close(case.draws(seed=1), case.automatic) else "another seed gave the same draws"


def module_stays(case):
    module = case.module
    before = predict(module, case.x)
    for i, part in enumerate(module.modules()):
        part.training = i % 3 > 0
    state = _state(module)
    if apart := close(case.draws(), case.expected):
        return f"in training mode {apart}"
    changed = [name for name, (what, _) in _state(module).items() if state[name][0] != what]
    module.eval()
    kept = _state(module)
    predict(module, case.x)  # what a pass itself writes down is not our doing
    own = {name for name, (what, _) in _state(module).items() if kept[name][0] != what}
    changed = [name for name in changed if name not in own]
    if changed:
        return f"changed {changed[:3]}"
    return "" if torch.equal(predict(module, case.x), before) else "another output afterwards"


def _state(module):
    """Return what identifies each attribute of all submodules, and the attribute to keep it."""
    return {
        f"{path}.{name}".lstrip("."): (_identity(value), value)
        for path, part in module.named_modules()
        for name, value in vars(part).items()
    }


def _identity(value):
    if isinstance(value, Tensor):
        return id(value), value._version
    if isinstance(value, Mapping):
        return [(name, _identity(part)) for name, part in value.items()]
    if isinstance(value, list | tuple | set):
        return [_identity(part) for part in value]
    return value if isinstance(value, int | float | str | None) else id(value)


def generators_stay(case):
    torch.rand(3)
    before = _generators()
    case.draws()
    return ", ".join(name for name, state in _generators().items() if state != before[name])


def _generators():
    numbers = np.random.get_state()  # noqa: NPY002
    return {
        "torch": torch.get_rng_state().tolist(),
        "NumPy": (numbers[1].tolist(), *numbers[2:]),
        "random": random.getstate(),
    }


def nothing_is_warned_of(case):
    own = _warnings_of(lambda: predict(case.module, case.x))
    ours = _warnings_of(lambda: mean_and_std(case.module, case.x, 4))
    allowed = f"{EXPECTED}|{case.warns}"
    odd = [text for text in ours if text not in own and not re.search(allowed, text)]
    return "; ".join(odd)


def _warnings_of(call):
    with warnings.catch_warnings(record=True, action="always") as caught:
        call()
    return dict.fromkeys(str(warning.message) for warning in caught)


def each_dropout_is_drawn(case):
    found = Counter(site.path for site in dropout_sites(case.module, case.x))
    real = real_dropouts(case.module, case.x)
    missed = [f"{n} in {path!r}" for path, n in (real - found).items()]
    extra = [f"{n} too many in {path!r}" for path, n in (found - real).items()]
    return ", ".join(missed + extra)


def std_is_that_of_training(case):
    ratio = std_ratio(case)
    bound = TOLERANCE / case.n_draws**0.5
    return "" if abs(ratio - 1) < bound else f"{ratio:.3f} of brute force"


def std_ratio(case):
    """Return our mean standard deviation over that of brute force."""
    _, std, _, expected = case.moments
    return (std.mean() / expected.mean()).item()


def mean_is_that_of_training(case):
    mean, std, expected, expected_std = case.moments
    error = ((std**2 + expected_std**2) / case.n_draws).sqrt()
    off = ((mean - expected) / error)[error > 0].square().mean().sqrt().item()
    return "" if off < 4 else f"{off:.1f} standard errors off"


LAWS = {
    "auto is the loop": auto_is_the_loop,
    "each strategy is the loop": each_strategy_is_the_loop,
    "rows stand alone": rows_stand_alone,
    "batch size": batch_size_is_free,
    "first draws": first_draws_stay,
    "seed": seed_repeats,
    "module": module_stays,
    "generators": generators_stay,
    "warnings": nothing_is_warned_of,
    "sites": each_dropout_is_drawn,
    "std": std_is_that_of_training,
    "mean": mean_is_that_of_training,
}


def broken(case):
    """Return law -> what breaks it; of a net that cannot be sampled, that alone."""
    found = {}
    for name, law in {"no draws": lambda case: case.draws() is None, **LAWS}.items():
        try:
            text = law(case)
        except Exception as error:
            text = f"{type(error).__name__}: {error}".splitlines()[0]
        if text:
            found[name] = text
        if "no draws" in found:
            break
    return found
