"""What people use instead: each rival makes the draws of a net for some rows.

``RIVALS`` maps a name to a function that takes a net and the number of draws, and returns a
function of some rows that returns draws of the shape (n_draws, n_some_rows, n_targets), or their
mean and standard deviation.
"""

import copy

import torch
from _stand_ins import without_torchvision_operators
from skorch import NeuralNetRegressor
from torch import nn


def _dropouts_on(net):
    """Return a copy of the net in eval mode with its dropout modules in training mode."""
    net = copy.deepcopy(net).eval()
    attention = any(isinstance(m, nn.MultiheadAttention) for m in net.modules())
    for module in net.modules():
        # The dropout of attention is no module: it follows the mode of the attention.
        if attention or isinstance(module, nn.modules.dropout._DropoutNd):
            module.training = True
    return net


def repeat_the_batch(net, n_draws):
    """Repeat each row for each draw, and make one pass."""
    net = _dropouts_on(net)
    return lambda x: net(x.repeat(n_draws, *[1] * (x.ndim - 1))).view(n_draws, len(x), -1)


def hand_loop(net, n_draws):
    """Make one pass for each draw."""
    net = _dropouts_on(net)
    return lambda x: torch.stack([net(x) for _ in range(n_draws)])


def skorch_loop(net, n_draws):
    """Call skorch's ``forward(training=True)`` for each draw."""
    theirs = NeuralNetRegressor(copy.deepcopy(net), batch_size=-1, verbose=0).initialize()
    return lambda x: torch.stack([theirs.forward(x, training=True) for _ in range(n_draws)])


def baal(net, n_draws):
    """Call baal's ``predict_on_batch``."""
    without_torchvision_operators()
    from baal.bayesian.dropout import patch_module
    from baal.modelwrapper import ModelWrapper, TrainingArgs

    patched = patch_module(copy.deepcopy(net).eval(), inplace=False)
    wrapper = ModelWrapper(patched, TrainingArgs(use_cuda=False))
    return lambda x: wrapper.predict_on_batch(x, iterations=n_draws).permute(2, 0, 1)


def torch_uncertainty(net, n_draws):
    """Call the net that torch-uncertainty's ``mc_dropout`` wraps."""
    without_torchvision_operators()
    from torch_uncertainty.methods.mc_dropout import mc_dropout

    wrapped = mc_dropout(copy.deepcopy(net), n_draws, task="regression", probabilistic=False)
    wrapped.eval()
    return lambda x: wrapped(x).view(n_draws, len(x), -1)


def lightning_uq_box(net, n_draws):
    """Call the ``predict_step`` of lightning-uq-box, which returns no draws but their summary."""
    without_torchvision_operators()
    from lightning_uq_box.uq_methods import MCDropoutRegression

    theirs = MCDropoutRegression(copy.deepcopy(net), n_draws, nn.MSELoss())

    def run(x):
        step = theirs.predict_step(x)
        return step["pred"].reshape(-1), step["pred_uct"].reshape(-1)

    return run


def batchbald_redux(net, n_draws):
    """Rewrite a sequential net in the classes of batchbald_redux, which share the masks.

    What comes before the first dropout is computed once, as its authors mean it to be.
    """
    from batchbald_redux.consistent_mc_dropout import BayesianModule, ConsistentMCDropout

    if not isinstance(net, nn.Sequential):
        raise TypeError("only the sequential nets were rewritten")

    class Rewritten(BayesianModule):
        def __init__(self):
            super().__init__()
            parts = list(copy.deepcopy(net))
            first = next(i for i, part in enumerate(parts) if isinstance(part, nn.Dropout))
            self.once = nn.Sequential(*parts[:first])
            self.each = nn.Sequential(
                *(ConsistentMCDropout(m.p) if isinstance(m, nn.Dropout) else m
                  for m in parts[first:])
            )  # fmt: skip

        def forward(self, x, k):
            return super().forward(self.once(x), k)

        def mc_forward_impl(self, x):
            return self.each(x)

    rewritten = Rewritten()
    # Its ``train`` returns None, which ``eval`` cannot go on with.
    for module in rewritten.modules():
        module.training = False

    def run(x):
        for module in rewritten.modules():
            if isinstance(module, ConsistentMCDropout):
                module.reset_mask()
        return rewritten(x, n_draws).transpose(0, 1)

    return run


RIVALS = {
    "repeat the batch": repeat_the_batch,
    "loop": hand_loop,
    "skorch loop": skorch_loop,
    "baal": baal,
    "torch-uncertainty": torch_uncertainty,
    "lightning-uq-box": lightning_uq_box,
    "batchbald_redux": batchbald_redux,
}
# A net must be rewritten for it.
REWRITTEN = "batchbald_redux"
# One of its passes takes so long that a few are timed, and their time is multiplied.
FEW_DRAWS = {"skorch loop": 5}
PACKAGES = ("baal", "torch-uncertainty", "lightning-uq-box", "batchbald_redux")


def draws_to_time(name, rival_draws, n_draws):
    """Return how many draws of a rival are timed: all where they have a part in common."""
    return n_draws if name == REWRITTEN else min(rival_draws, FEW_DRAWS.get(name, n_draws))
