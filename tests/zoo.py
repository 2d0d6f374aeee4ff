"""A zoo of small nets with dropout: what people bring, one of each kind.

An entry says which strategies take the net, besides the loop, which takes all. A strategy that
takes fewer nets than before, or a net that it got wrong and now refuses, changes the entry.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from nets import Function
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from sk_mcdropout.nn import DropConnect, GaussianDropout, Masksembles

__all__ = ["EACH", "FOLD", "N_ROWS", "WHOLE", "ZOO", "Entry", "entry"]

N_ROWS = 5
EACH = "weights thinned vmap fold"
WHOLE = "vmap fold"  # "weights" and "thinned" do not look into attention, nor mix rows and draws
FOLD = "fold"  # torch maps no recurrent net


@dataclass(frozen=True)
class Entry:
    """A kind of net.

    Parameters
    ----------
    make : callable
        Makes the net for the highest of its rates; 0 makes all of them 0.
    inputs : callable
        Makes an input for a number of rows.
    takes : frozenset of str
        The strategies that take the net.
    like_torch : bool
        Whether the net in training mode differs from eval mode by its dropout only.
    masks_by_row : bool
        Whether torch draws a mask of its own for each row.
    """

    make: Callable[[float], nn.Module]
    inputs: Callable[[int], object]
    takes: frozenset[str]
    like_torch: bool = True
    masks_by_row: bool = True


ZOO: dict[str, Entry] = {}


def table(n_rows: int) -> Tensor:
    return torch.randn(n_rows, 4).double()


def entry(inputs: Callable, takes: str, name: str = "", **options: bool) -> Callable:
    """Put the decorated function into the zoo."""

    def put(make: Callable) -> Callable:
        title = name or make.__name__.replace("_", " ")
        assert title not in ZOO
        ZOO[title] = Entry(make, inputs, frozenset({*takes.split(), "loop"}), **options)
        return make

    return put


# -- dense nets ----------------------------------------------------------------------------------


@entry(table, EACH)
def dense(p):
    first = nn.Linear(4, 8), nn.ReLU(), nn.Dropout(p)
    return nn.Sequential(*first, nn.Linear(8, 8), nn.GELU(), nn.Dropout(p / 2), nn.Linear(8, 2))


@entry(table, EACH)
def dense_in_place(p):
    first = nn.Linear(4, 8, bias=False), nn.ReLU(inplace=True), nn.Dropout(p, inplace=True)
    return nn.Sequential(*first, nn.Linear(8, 1, bias=False))


@entry(table, EACH)
def only_a_dropout(p):
    return nn.Dropout(p)


@entry(table, EACH)
def dropout_of_the_input(p):
    return nn.Sequential(nn.Dropout(p), nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


@entry(table, EACH)
def one_number_a_row(p):
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(p), nn.Linear(8, 1), nn.Flatten(0))


@entry(table, EACH)
def alpha_dropout(p):
    return nn.Sequential(nn.Linear(4, 8), nn.SELU(), nn.AlphaDropout(p), nn.Linear(8, 2))


@entry(table, EACH, like_torch=False)
def batch_norm(p):
    norm = nn.BatchNorm1d(8)
    norm.running_mean.uniform_()
    norm.running_var.uniform_(0.5, 2.0)
    return nn.Sequential(nn.Linear(4, 8), norm, nn.ReLU(), nn.Dropout(p), nn.Linear(8, 2))


@entry(table, EACH)
def gaussian_dropout(p):
    first = nn.Linear(4, 8), nn.ReLU(), GaussianDropout(p)
    return nn.Sequential(*first, nn.Linear(8, 8), nn.Tanh(), GaussianDropout(p / 2))


@entry(table, WHOLE, like_torch=False)
def masks_in_turn(p):
    drop = Masksembles(8, 3, scale=2.0 if p else 1.0)
    return nn.Sequential(nn.Linear(4, 8), drop, nn.ReLU(), nn.Dropout(p), nn.Linear(8, 2))


@entry(table, "vmap", masks_by_row=False)
def weights_dropped(p):
    last = DropConnect(nn.Linear(8, 2, bias=False), p / 2)
    return nn.Sequential(DropConnect(nn.Linear(4, 8), p), nn.ReLU(), nn.Dropout(p), last)


@entry(table, "vmap", masks_by_row=False)
def weights_of_a_convolution_dropped(p):
    layer = DropConnect(nn.Conv1d(2, 3, 2, padding=1, padding_mode="circular"), p)
    return nn.Sequential(nn.Unflatten(1, (2, 2)), layer, nn.ReLU(), nn.Flatten(1))


@entry(table, EACH)
def layer_norm(p):
    inner = nn.Dropout(p), nn.Linear(8, 8), nn.LayerNorm(8), nn.SiLU(), nn.Dropout(p)
    return nn.Sequential(nn.Linear(4, 8), *inner, nn.Linear(8, 2))


@entry(table, EACH)
def group_norm(p):
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(p), nn.GroupNorm(2, 8), nn.Linear(8, 2))


@entry(table, WHOLE)
def residual(p):
    before, dropout, after = nn.Linear(4, 8), nn.Dropout(p), nn.Linear(8, 2)
    inner = nn.Linear(8, 8)

    def forward(x):
        h = before(x)
        return after(h + dropout(torch.relu(inner(h))))

    return Function(forward, before, dropout, after, inner)


@entry(table, WHOLE)
def dropped_beside_plain(p):
    layer, after = nn.Linear(4, 8), nn.Linear(12, 2)
    return Function(
        lambda x: after(torch.cat([x, F.dropout(layer(x), p, after.training)], 1)), layer, after
    )


@entry(table, EACH)
def gated(p):
    value, gate, after = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(x):
        h = F.dropout(x, p, gate.training)
        return after(value(h) * gate(h).sigmoid())

    return Function(forward, value, gate, after)


@entry(table, EACH)
def functional(p):
    before, after = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(x):
        h = F.relu(before(F.dropout(x, p / 2, before.training)))
        return after(F.dropout(h, p=p, training=before.training, inplace=True))

    return Function(forward, before, after)


@entry(table, EACH)
def shared_layers(p):
    layer, dropout = nn.Linear(4, 4), nn.Dropout(p)
    return nn.Sequential(layer, dropout, nn.Tanh(), layer, dropout)


@entry(table, EACH)
def module_list(p):
    layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
    dropouts = nn.ModuleList(nn.Dropout(p / (i + 1)) for i in range(3))

    def forward(x):
        for layer, dropout in zip(layers, dropouts, strict=True):
            x = dropout(torch.relu(layer(x)))
        return x

    return Function(forward, layers, dropouts)


@entry(table, WHOLE)
def sizes_of_the_input(p):
    layer, dropout, after = nn.Linear(4, 8), nn.Dropout(p), nn.Linear(4, 2)

    def forward(x):
        return after(dropout(layer(x)).reshape(len(x), 2, 4).amax(1))

    return Function(forward, layer, dropout, after)


@entry(table, "vmap", masks_by_row=False)
def dropout_of_a_weight(p):
    first, last = nn.Linear(4, 8), nn.Linear(8, 2)
    dropout = nn.Dropout(p)
    return Function(lambda x: last(F.linear(x, dropout(first.weight)).tanh()), first, last, dropout)


@entry(table, EACH)
def two_outputs(p):
    body, mean, log_std = nn.Linear(4, 8), nn.Linear(8, 2), nn.Linear(8, 2)
    dropout = nn.Dropout(p)

    def forward(x):
        h = dropout(body(x).relu())
        return mean(h), log_std(h)

    return Function(forward, body, mean, log_std, dropout)


@entry(lambda n: (table(n), torch.randn(n, 2).double()), EACH)
def two_inputs(p):
    first, second, after = nn.Linear(4, 8), nn.Linear(2, 8), nn.Linear(8, 2)
    dropout = nn.Dropout(p)
    return Function(
        lambda x, z: after(dropout(first(x) + second(z))), first, second, after, dropout
    )


@entry(lambda n: {"x": table(n), "kind": torch.arange(n) % 3}, EACH)
def mapping_with_categories(p):
    body, embedding, after = nn.Linear(4, 8), nn.Embedding(3, 8), nn.Linear(8, 2)
    dropout = nn.Dropout(p)

    def forward(x, kind):
        return after(dropout(body(x)) + dropout(embedding(kind)))

    return Function(forward, body, embedding, after, dropout)


@entry(lambda n: torch.arange(3 * n).reshape(n, 3) % 7, EACH)
def embeddings(p):
    embedding, dropout, after = nn.Embedding(7, 4), nn.Dropout(p), nn.Linear(4, 2)
    return Function(lambda x: after(dropout(embedding(x)).mean(1)), embedding, dropout, after)


def parametrised(parametrise):
    def make(p):
        first = parametrise(nn.Linear(4, 4)), nn.Tanh(), nn.Dropout(p)
        return nn.Sequential(*first, parametrise(nn.Linear(4, 2)))

    return make


for parametrise in ("weight_norm", "orthogonal"):
    name = parametrise.replace("_", " ")
    entry(table, EACH, name)(parametrised(getattr(parametrizations, parametrise)))
entry(table, EACH, "spectral norm", like_torch=False)(parametrised(parametrizations.spectral_norm))
entry(table, EACH, "data parallel")(lambda p: nn.DataParallel(dense(p)))
entry(table, EACH, "compiled")(lambda p: torch.compile(dense(p), backend="eager"))


# -- convolutions --------------------------------------------


def convolution(n_axes):
    def make(p):
        conv, dropout = (getattr(nn, f"{kind}{n_axes}d") for kind in ("Conv", "Dropout"))
        return nn.Sequential(conv(2, 4, 2), nn.ReLU(), dropout(p), conv(4, 2, 1))

    return make


for n_axes in (1, 2, 3):
    entry(lambda n, k=n_axes: torch.randn(n, 2, *[3] * k).double(), EACH, f"conv{n_axes}d")(
        convolution(n_axes)
    )


def image(n_rows: int) -> Tensor:
    return torch.randn(n_rows, 1, 4, 4).double()


@entry(image, EACH, like_torch=False)
def conv_and_batch_norm(p):
    block = nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(p), nn.MaxPool2d(3)
    return nn.Sequential(*block, nn.Flatten(), nn.Dropout(p / 2), nn.Linear(3, 2))


def trained(norm):
    """A batch norm with statistics and weights as after training."""
    for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
        if tensor is not None:
            tensor.data.uniform_(0.5, 2)
    return norm


@entry(image, EACH, like_torch=False)
def channels_between_convolutions(p):
    first = nn.Conv2d(1, 3, 2), trained(nn.BatchNorm2d(3)), nn.ReLU(), nn.Dropout2d(p)
    then = nn.Conv2d(3, 4, 3, 1, 1, bias=False), nn.MaxPool2d(2, 1), nn.SiLU(), nn.Dropout2d(p / 2)
    last = nn.Conv2d(4, 2, 3, padding="same"), nn.AvgPool2d(2), nn.Dropout2d(p), nn.Flatten()
    return nn.Sequential(*first, *then, *last, nn.Linear(2, 2))


@entry(lambda n: torch.randn(n, 2, 8).double(), EACH, like_torch=False)
def channels_of_series(p):
    norm, plain = trained(nn.BatchNorm1d(3)), trained(nn.BatchNorm1d(4, affine=False))
    first = nn.Conv1d(2, 3, 2, stride=2), norm, nn.Dropout1d(p), nn.Conv1d(3, 4, 2, dilation=2)
    return nn.Sequential(
        *first, plain, nn.Dropout1d(p), nn.Conv1d(4, 2, 1), nn.AdaptiveMaxPool1d(1)
    )


@entry(image, EACH)
def convolutions_in_groups_and_transposed(p):
    drop = nn.Conv2d(1, 4, 2), nn.Dropout2d(p)
    groups = nn.Conv2d(4, 4, 2, groups=2), nn.Dropout2d(p / 2), nn.ConvTranspose2d(4, 2, 2)
    return nn.Sequential(*drop, *groups, nn.Dropout2d(p), nn.Linear(3, 2))


@entry(image, EACH)
def places_of_the_pooling(p):
    conv, dropout, after = nn.Conv2d(1, 3, 2), nn.Dropout2d(p), nn.Conv2d(3, 2, 1)

    def forward(x):
        values, places = F.max_pool2d(dropout(conv(x)), 2, return_indices=True)
        return after(values) + places.sum(1, keepdim=True)

    return Function(forward, conv, dropout, after)


@entry(image, EACH)
def dropout_before_the_last_layer(p):
    body = nn.Conv2d(1, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    return nn.Sequential(*body, nn.Dropout(p), nn.Linear(12, 2))


@entry(lambda n: torch.randn(n, 4, 6).double(), EACH)
def feature_alpha_dropout(p):
    return nn.Sequential(nn.Conv1d(4, 6, 2), nn.FeatureAlphaDropout(p), nn.SELU(), nn.Flatten())
