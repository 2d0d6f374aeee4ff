"""Time ``fit`` of the net 8-50-50-1 against other trainers of the same net.

``python benchmarks/speed_training.py`` times them in turn, and writes ``speed_training.md`` and
``speed_training.csv`` beside this file.
"""

import argparse
import warnings
from functools import partial

import numpy as np
import torch
from _report import intro, markdown, write
from _timing import medians_in_turn
from sklearn.neural_network import MLPRegressor
from skorch import NeuralNetRegressor
from speed_cases import dense
from torch import nn

from sk_mcdropout import MCDropoutRegressor

N_ROWS, BATCH, N_EPOCHS = 10_000, 128, 20

INTRO = """\
# Speed of `fit`

8-50-50-1, dropout 0.1, {n_rows:,} rows, batches of {batch}, {n_epochs} epochs, shuffled, AdamW,
{threads} threads; medians of {repeats}, all in turn in one run. The hand-written loop takes its
rows by `torch.randperm`, makes fused steps and adds up the losses, which skorch and we also
report; `MLPRegressor` has no dropout, and Adam.
"""


def ours(net, X, y):
    """Fit our regressor."""
    MCDropoutRegressor(net, max_epochs=N_EPOCHS, batch_size=BATCH, random_state=0).fit(X, y)


def skorch_fit(net, X, y):
    """Fit skorch's regressor."""
    theirs = NeuralNetRegressor(
        net,
        max_epochs=N_EPOCHS,
        batch_size=BATCH,
        optimizer=torch.optim.AdamW,
        lr=0.005,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    theirs.fit(X, y[:, None])


def hand_loop(net, X, y):
    """Train by hand."""
    x, y = torch.from_numpy(X), torch.from_numpy(y[:, None])
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.005, fused=True)
    loss_function = nn.MSELoss()
    net.train()
    losses = []
    for _ in range(N_EPOCHS):
        order, total = torch.randperm(len(x)), 0.0
        for start in range(0, len(x), BATCH):
            rows = order[start : start + BATCH]
            optimizer.zero_grad()
            loss = loss_function(net(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(total / len(x))


def scikit_learn(net, X, y):
    """Fit scikit-learn's net for as many epochs."""
    theirs = MLPRegressor(
        hidden_layer_sizes=(50, 50),
        batch_size=BATCH,
        max_iter=N_EPOCHS,
        n_iter_no_change=N_EPOCHS,
    )
    theirs.fit(X, y)


TRAINERS = {
    "`MCDropoutRegressor.fit`": ours,
    "skorch's `NeuralNetRegressor.fit`": skorch_fit,
    "hand-written loop": hand_loop,
    "scikit-learn's `MLPRegressor.fit`": scikit_learn,
}
# What our time, divided by the other one, may be at most.
TARGETS = {"skorch's `NeuralNetRegressor.fit`": 1 / 2, "hand-written loop": 1.15}


def train(trainer, X, y):
    """Train a net that has the same weights at every call."""
    torch.manual_seed(0)
    trainer(dense(8, 50, 50, 1), X, y)


def _compared(name, ratio):
    if name not in TARGETS:
        return "" if ratio == 1 else f"{ratio:.2f} times this"
    met = "met" if ratio <= TARGETS[name] else "**not met**"
    return f"{ratio:.2f} times this (at most {TARGETS[name]:g}: {met})"


def main():
    """Run the benchmark and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_ROWS, 8)).astype(np.float32)
    y = (X @ rng.normal(size=8) + rng.normal(size=N_ROWS)).astype(np.float32)
    calls = {name: partial(train, trainer, X, y) for name, trainer in TRAINERS.items()}
    times = medians_in_turn(calls, args.repeats)
    fit = next(iter(times.values()))
    table, lines = [], []
    for name, time in times.items():
        step = 1e6 * time / N_EPOCHS / -(-N_ROWS // BATCH)
        table.append((name.replace("`", ""), f"{time:.4g}", f"{fit / time:.3g}"))
        lines.append((name, f"{time:.3g}", f"{step:.0f}", _compared(name, fit / time)))
    text = INTRO.format(n_rows=N_ROWS, batch=BATCH, n_epochs=N_EPOCHS, **vars(args))
    text = intro(text, "speed_training.py")
    text += markdown(("", "seconds", "microseconds for a step", "ours is"), lines, "lrrl")
    print(text)
    write("speed_training", text, ("way", "seconds", "ours_over_this"), table)


if __name__ == "__main__":
    main()
