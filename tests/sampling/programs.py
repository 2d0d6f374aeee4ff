"""Random programs: nets whose forward is a few lines of code, and a plain reading of each.

A program works on the registers ``a``, ``b`` and ``c`` and the input ``x``, all of one shape, and
on ``v`` and ``w``, which begin as views. Each line is drawn from `LINES`. Where a line has a
dropout, its number, kind, rate and place of the rows are written down: `interpret` runs the same
lines by plain torch, one draw after the other, with explicit masks in the place of the dropouts.
"""

import itertools
import random
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["Program", "interpret", "random_program"]

SHAPES = {"table": (6,), "sequence": (4, 6)}  # of one row

# For each group some lines. Registers are {a}, {b}, {c}; {v} and {w} have half of their length;
# {D} is a dropout of any kind, {E} one of single numbers, {P} one that
# only multiplies, {T}, {M} and {N} one whose rows are not the first axis.
LINES = {
    "out of place": """
        {a} = F.relu({b})
        {a} = torch.tanh({b})
        {a} = {b}.sin()
        {a} = F.leaky_relu({b}, 0.1)
        {a} = F.hardtanh({b}, -0.5, 0.5)
        {a} = F.gelu({b})
        {a} = {b} * 0.5 + 0.1
        {a} = {b} + 0.5 * {c}
        {a} = torch.where({b} > 0.123, {b}, {c})
        {a} = torch.cat([{v}, {w}], -1)
        {a} = torch.cat([{b}[..., 3:], {v}], -1)
        {a} = {b}.clone()
        {v} = {w} - 0.3
    """,
    "layers": """
        {a} = linear({b})
        {a} = other_linear({b})
        {a} = F.linear({b}, other_linear.weight)
        {a} = layer_norm({b})
        {v} = half_linear({w})
    """,
    "in place": """
        {a} += 0.3
        {a} += {b}
        {a} -= {b}.tanh()
        {a} *= 0.5
        {a}.mul_({b}.sigmoid())
        {a}.clamp_(-1, 1)
        {a}.copy_({b})
        {a}.add_({b}, alpha=0.5)
        {a}.lerp_({b}, 0.25)
        {a}.tanh_()
        {a}.masked_fill_({b} > 0.123, 0.25)
        {a}.unsqueeze_(1).squeeze_(1)
        {a}.transpose(-1, 0).mul_(0.7)
        {c}.data.add_(0.1)
        {a}.zero_().add_({b})
        F.relu_({a})
        torch.sigmoid_({a})
        F.relu({a}, inplace=True)
        {a} = F.relu({b}, inplace=True)
        F.hardtanh({a}, -0.5, 0.5, inplace=True)
        F.leaky_relu({a}, 0.1, True)
        {a} = F.elu({b}, 1.0, True)
        F.silu({a}, inplace=True)
        relu_in_place({a})
        {a} = relu_in_place({b})
        hardtanh_in_place({a})
        torch.add({a}, {b}, out={c})
        torch.mul({a}, 0.5, out={a})
        {a}[...] = {b}
        {a}[..., 1] = 0.7
        {a}[..., 1:3] = {b}[..., 3:5]
        {a}[..., 2] *= 2
        {a}[:, 2:4] += {b}[:, :2]
        {a}[{a} > 0.123] = 0.5
        {v} += 0.2
        {v} -= {w}
        {v}.mul_(0.5)
        F.relu_({v})
        {v}.copy_({a}[..., 3:])
        {v}[..., 0] = 1
    """,
    "aliases": """
        {a} = {b}
        {a} = x
        {a} = {b}.detach()
        {a} = {b}.data
        {a} = {b}.view({b}.shape)
        {a} = {b}.expand({b}.shape)
        {a} = {b}.to({b}.dtype)
        {a} = {b}.transpose(-1, 0).transpose(-1, 0)
        {a} = {b}.double()
        {v} = {a}[..., :3]
        {v} = {a}[..., 3:]
        {v} = {a}[..., ::2]
        {v} = {a}.chunk(2, -1)[1]
        {v} = {a}.unflatten(-1, (2, 3))[..., 0, :]
        {v} = {w}
    """,
    "dropouts": """
        {a} = {D}({b})
        {D}({a})
        {v} = {E}({v})
        {E}({a}[..., :3])
        {a} = {b} + {D}({c})
        {a} = {b} + {D}(linear({b}))
        {a} = linear({D}({b}))
        {a} = linear({D}(F.relu(other_linear({b}))))
        {a} = {D}(layer_norm({b}))
        {a} += {D}({b})
    """,
    "in steps": """
        h = linear({a}); i = {D}(h); h += 0.3; {a} = other_linear(i)
        h = linear({a}); i = {D}(h); h.data.mul_(2); {a} = other_linear(i)
        h = linear({a}); i = {D}(h); h.unsqueeze_(1); {a} = other_linear(i).view(x.shape)
        h = linear({D}({a})); i = F.relu(h); h.zero_(); {a} = i
        h = linear({D}({a})); F.relu(h, inplace=True); hardtanh_in_place(h); {a} = h
        h = linear({D}({a})); i = h[..., :3]; relu_in_place(h); {a} = torch.cat([i, h[..., 3:]], -1)
        h = linear({D}({a})); i = h * 2; i = i + F.relu(h); {a} = i + h
        h = i = linear({a}); {D}(h); {a} = other_linear(F.relu(i, inplace=True))
    """,
    "of a table": """
        {a} = batch_norm({b})
        {a} = linear({D}(batch_norm(other_linear({b}))))
        {a} = {b}.contiguous()
        {a} = {b}.flatten().reshape({b}.shape)
    """,
    "of a sequence": """
        {a} = convolution({b})
        {a} = F.max_pool1d({b}, 3, 1, 1)
        {a} = F.avg_pool1d(convolution({D}({b})), 3, 1, 1)
        {a} = batch_norm({b})
        {a} = convolution({D}(F.relu(batch_norm(convolution({b})))))
        {a} = {T}({b}.transpose(0, 1)).transpose(0, 1)
        {a} = linear({M}({b}.flatten(0, 1))).unflatten(0, (-1, 4))
        {a} = {N}({b}.transpose(0, 1).flatten(0, 1)).unflatten(0, (4, -1)).transpose(0, 1)
        {a} = {a} + {b}.mean(1, keepdim=True)
    """,
}
# Kinds of programs that have one line more, of these. {R} is a dropout whose rows are ragged: its
# masks are those of each row by itself.
SPECIAL = {
    "dtypes": """
        {a} = {D}({b}.float()).double()
        {a} = {D}(other_linear({b}).float().relu_()).double()
    """,
    "zeros": """
        {a} = {a} + zero * {D}({b})
        {a} = {a} + linear({D}({b}) * zero)
        {a} = {P}({b} * 1e-9) * 1e9
        {a} = linear({D}({b} * zero)) + {a}
    """,
    "sorted": """
        i = {b}.flatten(1).sum(1).argsort(); {a} = {D}({b}[i])[i.argsort()]
        i = {b}.flatten(1)[:, 0].sort().indices; {a}[i] = {D}({b}[i])
    """,
    "ragged": """
        i = {b}.flatten(1).sum(1) > 0.1; {a} = {b}.clone(); {a}[i] = {R}({b}[i])
        i = {b}[..., 0] > 0; {a} = {b}.clone(); {a}[i] = {R}({b}[i])
        i = {b}[..., 0].abs() > 0.2; {a} = {b} * 1; {a}[i] = linear({R}(other_linear({b}[i])))
        i = max(1, int(({b} > 0).sum(-1).max())); {a} = F.pad({R}({b}[..., :i]), (0, 6 - i))
        while {a}.abs().max() > 0.3: {a} = {R}({a}) * 0.3
        {a} = {R}({b}) if {b}.sum() > 0.1 else {b}
    """,
    "asking": """
        assert torch.isfinite({b}).all(); {a} = linear({D}({b}))
        assert not {b}.isnan().any() and {b}.abs().max() < 1e9
    """,
    "asking all rows": """
        {a} = {b} * (0.5 if {b}.abs().max() > 1.5 else 0.7)
        if {b}.mean() > 0.1: {a} = {a} * 0.5
        assert {b}.abs().max().item() < 1e9
    """,
    "mixing": """
        {a} = {b} - {b}.mean(0)
        {a} = {b}.softmax(0)
        {a} = {b} / {b}.std()
        {a} = {b}.flip(0)
        {a} = {b}.cumsum(0)
        {a} = {b} + {b}[0]
        {a} = F.batch_norm({b}, None, None, training=True)
        {a} = {b} / len({b})
    """,
}
ALIKE = ("plain", "dtypes", "zeros", "asking")  # the kinds whose rows go one way, and do not meet
ALL = LINES | SPECIAL
GROUPS = ["out of place", "layers", "in place", "in place", "aliases", "dropouts", "in steps"]
ELEMENTWISE = ["dropout", "dropout", "dropout", "alpha_dropout"]
OF_CHANNELS = ["dropout1d", "feature_alpha_dropout"]
OUTPUTS = ["a", "a", "linear(a)", "a + b", "torch.cat([a, v], -1)", "v", "(b, a)", "a + x + c"]


@dataclass(frozen=True)
class Dropout:
    """A dropout in a program: how it is written, and on which axis its rows are."""

    kind: str
    p: float
    inplace: bool
    layer: bool
    rows: str = "first"

    def __str__(self):
        name = self.kind.title().replace("_", "").replace("1D", "1d")
        if self.layer:
            return f"nn.{name}({self.p}, inplace={self.inplace})"
        return f"lambda h: F.{self.kind}(h, {self.p}, True, {self.inplace})"

    def written(self):
        """The dropout as its user writes it."""
        return eval(str(self), {"nn": nn, "F": F})

    def mask_shape(self, h):
        """The shape of a mask that all rows share, with rows of length 1."""
        shape = [*h.shape]
        if self.rows == "ragged":
            return shape
        if self.rows == "merged rows first":
            shape = [shape[0] // 4, 4, *shape[1:]]
        elif self.rows == "merged rows second":
            shape = [4, shape[0] // 4, *shape[1:]]
        shape[1 if self.rows.endswith("second") else 0] = 1
        if self.kind in OF_CHANNELS:
            shape[2:] = [1] * len(shape[2:])
        return shape

    def masked(self, h, draw, seed, call):
        """Apply the mask of one draw."""
        if self.p == 0:
            return h
        shape = self.mask_shape(h)
        bits = np.random.PCG64([seed, call]).jumped(draw)
        numbers = np.random.Generator(bits).random(shape, np.float32)
        keep = torch.from_numpy(numbers >= self.p).to(h.dtype)
        if self.rows.startswith("merged"):
            sizes = (-1, 4) if self.rows == "merged rows first" else (4, -1)
            keep = keep.expand(h.unflatten(0, sizes).shape).flatten(0, 1)
        scale, shift = keep / (1 - self.p), torch.zeros(())
        if "alpha" in self.kind:
            alpha = 1.7580993408473766
            a = ((alpha**2 * self.p + 1) * (1 - self.p)) ** -0.5
            scale, shift = keep * a, (keep - 1) * alpha * a + alpha * a * self.p
        if self.inplace and not (self.layer and "alpha" in self.kind):  # which torch leaves out
            return h.mul_(scale).add_(shift)
        return h * scale + shift


class Net(nn.Module):
    """The module of a program."""

    def __init__(self, program):
        super().__init__()
        size = SHAPES[program.form]
        with torch.random.fork_rng():
            torch.manual_seed(program.seed)
            self.parts = nn.ModuleDict(
                {
                    "linear": nn.Linear(6, 6),
                    "other_linear": nn.Linear(6, 6),
                    "half_linear": nn.Linear(3, 3),
                    "layer_norm": nn.LayerNorm(6),
                    "batch_norm": nn.BatchNorm1d(size[0]),
                    "convolution": nn.Conv1d(size[0], size[0], 3, padding=1),
                    "relu_in_place": nn.ReLU(inplace=True),
                    "hardtanh_in_place": nn.Hardtanh(-0.6, 0.6, inplace=True),
                }
            )
        zero = nn.Parameter(torch.zeros((), dtype=torch.float64))  # a gate that learned nothing yet
        dropouts = {f"D{i}": dropout.written() for i, dropout in enumerate(program.dropouts)}
        layers = {name: d for name, d in dropouts.items() if isinstance(d, nn.Module)}
        self.parts.update(layers)
        self.names = dropouts | dict(self.parts) | {"torch": torch, "F": F, "zero": zero}
        self.code = compile(program.code, "<program>", "exec")
        self.double().eval()

    def forward(self, x):
        return self.run(x, {})

    def run(self, x, other_names):
        names = self.names | other_names | {"x": x}
        exec(self.code, names)
        return names["output"]


@dataclass(frozen=True)
class Program:
    """Lines of code and the dropouts in them."""

    seed: int
    form: str
    kind: str
    lines: tuple[str, ...]
    dropouts: tuple[Dropout, ...]
    output: str

    @property
    def code(self):
        start = "a, b, c = linear(x), other_linear(x), x * 0.9\nv, w = a[..., :3], b[..., 3:]\n"
        return start + "\n".join(self.lines) + f"\noutput = {self.output}\n"

    def __str__(self):
        names = "\n".join(f"D{i} = {dropout}" for i, dropout in enumerate(self.dropouts))
        return f"{self.seed}, {self.kind}, x: (n, *{SHAPES[self.form]})\n{names}\n{self.code}"

    def net(self):
        return Net(self)

    def inputs(self, n_rows):
        numbers = np.random.default_rng(self.seed).normal(size=(n_rows, *SHAPES[self.form]))
        return torch.from_numpy(numbers)


@cache
def random_program(seed, kinds=ALIKE):
    """Make a program whose dropouts change its output, and the same at each call."""
    choose = random.Random(seed)
    while True:
        program = _any_program(seed, choose, choose.choice(kinds))
        draws = interpret(program, program.inputs(3), 6)
        if draws.isfinite().all() and not torch.allclose(draws, draws[:1], atol=1e-3):
            return program


def _any_program(seed, choose, kind):
    """Make a program of 2 to 7 lines."""
    form = choose.choice([*SHAPES])
    groups = {name: [*map(str.strip, lines.strip().split("\n"))] for name, lines in ALL.items()}
    registers = choose.choice(["a", "aab", "aabbcx"])  # straight on, with a skip, any
    dropouts, lines = [], []
    n_lines = choose.randint(2, 7)
    sure = choose.randrange(n_lines)  # the line that has a dropout of what is given back
    chosen = choose.choices([*GROUPS, f"of a {form}"], k=n_lines)
    chosen[sure] = choose.choice(["dropouts", "in steps"])
    if kind != "plain":
        chosen.insert(choose.randrange(n_lines + 1), kind)
        registers = "a"
    for group in chosen:
        line = choose.choice(groups[group])
        names = dict(zip("abc", choose.choices(registers, k=3), strict=True))
        names |= dict(zip("vw", choose.sample("vw", 2), strict=True))
        for place in "DEPTMNR":
            if "{" + place + "}" in line:
                names[place] = f"D{len(dropouts)}"
                dropouts.append(_random_dropout(choose, form, place))
        lines.append(line.format(**names))
    return Program(seed, form, kind, tuple(lines), tuple(dropouts), choose.choice(OUTPUTS))


def _random_dropout(choose, form, place):
    kinds = ["dropout"] if place == "P" else ELEMENTWISE
    if place == "D" and form == "sequence":
        kinds = [*kinds, *OF_CHANNELS]
    rows = {"T": "second", "M": "merged rows first", "N": "merged rows second", "R": "ragged"}
    rows = rows.get(place, "first")
    p = choose.choice([0.2, 0.3, 0.5, 0.5, 0.0])
    inplace = choose.random() < 0.4 and place not in "MNR"  # a copy, but a view of one row
    return Dropout(choose.choice(kinds), p, inplace, choose.random() < 0.5, rows)


@torch.no_grad()
def interpret(program, x, n_draws, seed=0):
    """Run a program draw by draw, with explicit masks in the place of its dropouts."""
    net, draws = program.net(), []
    for draw in range(n_draws):
        calls = itertools.count()

        def reader(dropout, draw=draw, calls=calls):
            return lambda h: dropout.masked(h, draw, seed, next(calls))

        masked = {f"D{i}": reader(dropout) for i, dropout in enumerate(program.dropouts)}
        output = net.run(x.clone(), masked)
        draws.append(output[0] if isinstance(output, tuple) else output)
    return torch.stack([draw.clone() for draw in draws])
