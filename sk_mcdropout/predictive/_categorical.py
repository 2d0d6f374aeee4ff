"""The predictive distribution of a classifier: a mixture of probabilities over the draws."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from sk_mcdropout.sampling import AnyDraws, mean_and_std_over_draws, mean_over_draws

from ._made_up import MadeUpDraws

__all__ = [
    "CategoricalDistribution",
    "CategoricalLikelihood",
    "ClassUncertainty",
    "likeliest_temperature",
]

# The logarithms of the temperatures that are tried, and how often a finer grid is laid.
_LOGS, _GRIDS = np.linspace(-4, 4, 33), 3

# How far from one the probabilities of a row may add up to, in single precision and less.
_OFF = 1e-2


class ClassUncertainty(NamedTuple):
    """How unsure a classifier is of each row; entropies are in nats.

    Parameters
    ----------
    predictive_entropy : ndarray of shape (n_samples,)
        Entropy of the mean probabilities: all uncertainty.
    expected_entropy : ndarray of shape (n_samples,)
        Mean over the draws of their entropies: what more data would leave.
    mutual_information : ndarray of shape (n_samples,)
        The difference of the two, at least 0: how far the draws disagree [1]_.
    variation_ratio : ndarray of shape (n_samples,)
        Share of the draws whose likeliest class is not the commonest one.
    margin : ndarray of shape (n_samples,)
        Mean probability of the likeliest class less that of the next one; 1 for a single class.
    max_probability : ndarray of shape (n_samples,)
        Mean probability of the likeliest class.

    References
    ----------
    .. [1] Houlsby, Huszár, Ghahramani & Lengyel (2011), "Bayesian active learning for
       classification and preference learning", eq. 2.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.predictive import CategoricalDistribution, CategoricalLikelihood
    >>> from sk_mcdropout.predictive import GivenOutputs
    >>> outputs = GivenOutputs([torch.tensor([[0.0, 0.0], [9.0, 0.0]])])
    >>> likelihood = CategoricalLikelihood(torch.nn.Softmax(dim=-1))
    >>> CategoricalDistribution(outputs, likelihood).uncertainty().max_probability
    array([0.5       , 0.99987661])
    """

    predictive_entropy: np.ndarray
    expected_entropy: np.ndarray
    mutual_information: np.ndarray
    variation_ratio: np.ndarray
    margin: np.ndarray
    max_probability: np.ndarray


@dataclass(frozen=True, eq=False)
class CategoricalLikelihood:
    """Classes whose probabilities a net gives, or logits of them.

    Parameters
    ----------
    nonlinearity : callable, optional
        Makes probabilities of the outputs of a draw, of shape (n_samples, n_classes); by default
        they are probabilities.
    temperature : float
        What the logarithms of the probabilities of a draw are divided by [1]_: above 1 all draws
        are less sure, below 1 surer.

    References
    ----------
    .. [1] Guo, Pleiss, Sun & Weinberger (2017), "On calibration of modern neural networks", ICML,
       eq. 9.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.predictive import CategoricalLikelihood
    >>> CategoricalLikelihood(torch.nn.Softmax(dim=-1)).probabilities(torch.zeros(4, 3, 2)).shape
    torch.Size([4, 3, 2])
    """

    nonlinearity: Callable[[Tensor], Tensor] | None = None
    temperature: float = 1.0

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return probabilities in double precision, of shape (n_draws, n_samples, n_classes)."""
        values = outputs.double()
        if isinstance(self.nonlinearity, torch.nn.Softmax) and self.nonlinearity.dim == -1:
            values = self.nonlinearity(values)
        elif self.nonlinearity is not None:
            values = torch.stack([self.nonlinearity(draw) for draw in values])
        if not torch.compiler.is_compiling():  # a graph asks nothing of values
            _check_probabilities(values)
        if self.temperature == 1:
            return values / values.sum(dim=-1, keepdim=True)
        return torch.softmax(values.log() / self.temperature, dim=-1)


def _check_probabilities(values: Tensor) -> None:
    if values.ndim != 3:
        raise ValueError(
            "the net must have an output for each row and class. Got outputs of shape "
            f"{tuple(values.shape[1:])}. Give the net an output for each class."
        )
    if (values < 0).any() or ((values.sum(dim=-1) - 1).abs() > _OFF).any():
        raise ValueError(
            "the outputs of the net must be probabilities for this criterion: at least 0, and "
            "of sum 1. Got others. End the net in a softmax, or train it by "
            "`criterion=torch.nn.CrossEntropyLoss`, which takes logits."
        )


class CategoricalDistribution:
    """Distribution of the class of some rows: an equal mixture over Monte-Carlo draws.

    Each method makes the draws again, always the same ones, in memory that does not grow with
    draws x rows; only `draws` keeps them.

    Parameters
    ----------
    draws : Draws, PooledDraws or ChainedDraws
        The draws of the net, or of several nets.
    likelihood : CategoricalLikelihood
        What the outputs of the net mean.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_mcdropout import MCDropoutClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MCDropoutClassifier(max_epochs=10, random_state=0).fit(X, y)
    >>> net.predict_distribution(X[:5]).mean().shape
    (5, 3)
    """

    def __init__(self, draws: AnyDraws, likelihood: CategoricalLikelihood) -> None:
        self._draws = draws
        self._likelihood = likelihood

    def mean(self) -> np.ndarray:
        """Compute the mean probabilities over the draws.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            The probabilities of the classes, of sum 1 for each row.
        """

        def mean(outputs: Tensor, rows: slice) -> tuple[Tensor, ...]:
            return (mean_over_draws(self._likelihood.probabilities(outputs)).cpu(),)

        # Unlike the mean of a regression, that of probabilities is no function of mean outputs.
        return self._draws.reduce(mean)[0].numpy()

    def mean_and_std(self) -> tuple[np.ndarray, np.ndarray]:
        """Compute mean and standard deviation of the probabilities over the draws.

        Returns
        -------
        mean, std : ndarray of shape (n_samples, n_classes)
            The mean, and the standard deviation with ``ddof=1``.
        """
        if self._draws.n_draws == 1:
            raise ValueError(
                "`n_draws` must be at least 2 for a spread. Got 1. Ask for more draws."
            )

        def moments(outputs: Tensor, rows: slice) -> tuple[Tensor, ...]:
            mean, std = mean_and_std_over_draws(self._likelihood.probabilities(outputs))
            return mean.cpu(), std.cpu()

        mean, std = self._draws.reduce(moments)
        return mean.numpy(), std.numpy()

    def moments_of(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Compute mean and standard deviation from given draws, by functions of torch alone.

        Parameters
        ----------
        outputs : Tensor of shape (n_draws, n_samples, n_classes)
            Outputs of the net.

        Returns
        -------
        mean, std : Tensor of shape (n_samples, n_classes)
            What `mean_and_std` returns for all draws, up to rounding: a graph of it can be traced.
        """
        probabilities = self._likelihood.probabilities(outputs)
        return probabilities.mean(0), probabilities.std(0)

    def draws(self) -> np.ndarray:
        """Return the probabilities of each draw.

        Returns
        -------
        ndarray of shape (n_draws, n_samples, n_classes)
            The draws whose mean is `mean`. Each is one function of all rows.
        """

        def probabilities(outputs: Tensor, rows: slice) -> tuple[Tensor, ...]:
            return (self._likelihood.probabilities(outputs).cpu(),)

        return self._draws.reduce(probabilities, axis=1)[0].numpy()

    def of_made_up_row(self, n_classes: int) -> Self:
        """Return the distribution of a row that no net has seen, to learn the shape of answers.

        Parameters
        ----------
        n_classes : int
            Number of classes.

        Returns
        -------
        CategoricalDistribution
            The same distribution of one row with made-up outputs.
        """

        def make(n_draws: int) -> Tensor:
            return torch.full((n_draws, 1, n_classes), 1 / n_classes)

        other = copy(self)
        other._draws = MadeUpDraws(make, self._draws.n_draws, self._draws.seed)
        return other

    def uncertainty(self) -> ClassUncertainty:
        """Compute how unsure the classifier is of each row.

        Returns
        -------
        ClassUncertainty
            Entropies, mutual information and others, each of shape (n_samples,).
        """

        def summary(outputs: Tensor, rows: slice) -> tuple[Tensor, ...]:
            each = self._likelihood.probabilities(outputs)
            mean = mean_over_draws(each)
            entropy = torch.special.entr(mean).sum(dim=-1)
            expected = torch.minimum(torch.special.entr(each).sum(dim=-1).mean(dim=0), entropy)
            votes = one_hot(each.argmax(dim=-1), each.shape[-1]).double().mean(dim=0)
            first, *second = mean.topk(min(2, mean.shape[-1])).values.unbind(dim=-1)
            margin = first - second[0] if second else first
            values = entropy, expected, entropy - expected, 1 - votes.amax(dim=-1), margin, first
            return tuple(value.cpu() for value in values)

        return ClassUncertainty(*(part.numpy() for part in self._draws.reduce(summary)))


def likeliest_temperature(
    draws: AnyDraws,
    likelihood: CategoricalLikelihood,
    codes: np.ndarray,
    weights: np.ndarray | None = None,
) -> float:
    """Find the temperature under which the classes of held-out rows are likeliest.

    Parameters
    ----------
    draws : Draws, PooledDraws or ChainedDraws
        The draws for the rows.
    likelihood : CategoricalLikelihood
        What the outputs of the net mean.
    codes : ndarray of shape (n_samples,)
        The column of the class of each row.
    weights : ndarray of shape (n_samples,), optional
        The weights of the rows.

    Returns
    -------
    float
        The temperature, between 1/50 and 50, under which the mean probabilities over the draws
        have the highest likelihood.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from sk_mcdropout.predictive import CategoricalLikelihood, GivenOutputs
    >>> from sk_mcdropout.predictive import likeliest_temperature
    >>> class Same(GivenOutputs):  # which can be asked again
    ...     def reduce(self, function, **options):
    ...         return GivenOutputs([4 * torch.eye(2)[[0, 0, 0]]]).reduce(function, **options)
    >>> draws, likelihood = Same([]), CategoricalLikelihood(torch.nn.Softmax(dim=-1))
    >>> temperature = likeliest_temperature(draws, likelihood, np.array([0, 0, 1]))
    >>> round(4 / temperature, 2)  # the logarithm of 2, as 2 of 3 rows are of the first class
    0.69
    """
    places, logs = torch.from_numpy(codes), _LOGS
    for _ in range(_GRIDS):
        tried = [replace(likelihood, temperature=float(t)) for t in np.exp(logs)]

        def log_shares(
            outputs: Tensor, rows: slice, tried: list[CategoricalLikelihood] = tried
        ) -> tuple[Tensor, ...]:
            chunk = places[rows].to(outputs.device)[:, None]
            means = (mean_over_draws(one.probabilities(outputs)) for one in tried)
            shares = torch.cat([mean.gather(1, chunk) for mean in means], dim=1)
            return (shares.clamp_min(torch.finfo(shares.dtype).tiny).log().cpu(),)

        (each,) = draws.reduce(log_shares)
        best = int(np.average(each.numpy(), axis=0, weights=weights).argmax())
        last = float(logs[best])
        logs = np.linspace(logs[max(best - 1, 0)], logs[min(best + 1, len(logs) - 1)], len(logs))
    return float(np.exp(last))
