"""A skorch net in files: whole by pickle and its like, or its weights and what it learned of y."""

import json
from typing import Any

import torch
from skorch import NeuralNet
from torch import Tensor, nn

from sk_mcdropout.sampling import DropoutSites

from ._parts import device_to_load_to, load_parts, named_in
from ._versions import check_version, stamped, version, without_stamp

__all__ = ["SavedNet"]

_PARTS = "__cuda_dependent_attributes__"  # where skorch puts what is on a device

# Where a file of weights holds what else was learned: among the metadata of a state dict, and for
# safetensors, which keeps tensors alone, as the bytes of JSON.
_METADATA, _TENSOR = "sk_mcdropout.target", "sk_mcdropout"


class SavedNet(NeuralNet):
    """Base class: a net that comes out of a file as it was.

    Subclasses say by `_learned` what they have learned beside their weights.
    """

    random_state: Any
    seed_: int

    _as_tensors = False  # while weights are saved by safetensors

    # -- whole ---------------------------------------------------------------------------------

    def __getstate__(self):
        state = super().__getstate__()
        state["_named"] = named_in(state[_PARTS])
        if "_warned" in state:
            state["_warned"] = set()
        if (sites := state.get("dropout_sites_")) is not None:  # skops keeps the items of a list
            state["dropout_sites_"] = list(sites), sites.strategies, sites.refused
        return stamped(state)

    def __setstate__(self, state):
        state = without_stamp(self, state)
        device = device_to_load_to(state["device"])
        state["device"] = self._check_device(state["device"], device)
        parts = load_parts(state.pop(_PARTS), state.pop("_named", {}), device)
        self.__dict__.update(state | parts)
        if isinstance(sites := vars(self).get("dropout_sites_"), tuple):
            self.dropout_sites_ = DropoutSites(*sites)

    # -- weights -------------------------------------------------------------------------------

    def _learned(self) -> dict[str, Any]:
        """Return what was learned beside the weights: names with numbers, strings and lists."""
        return {}

    def _take_learned(self, learned: dict[str, Any]) -> None:
        """Take what `_learned` of the net that was saved has returned, if there is anything."""

    def _get_module(self, name, msg):
        module = super()._get_module(name, msg)
        return _WithLearned(self, module) if name == "module_" else module

    def save_params(
        self,
        f_params=None,
        f_optimizer=None,
        f_criterion=None,
        f_history=None,
        use_safetensors=False,
        **kwargs,
    ):
        """Save the weights and what was learned of y, as skorch does, and not the whole net.

        Parameters
        ----------
        f_params, f_optimizer, f_criterion, f_history : path or file, optional
            Where to save the weights of the module, with the scale of y, its noise and the
            calibration, or the classes and the temperature; the state of the optimizer and of the
            loss; and the history.
        use_safetensors : bool, default=False
            Whether to save the weights by safetensors, whose files can hold no code.
        **kwargs : dict
            More of skorch's, such as ``f_mymodule``.
        """
        files = {"f_params": f_params, "f_optimizer": f_optimizer, "f_criterion": f_criterion}
        files = {**files, "f_history": f_history, **kwargs}
        given = {name: file for name, file in files.items() if file is not None}
        self.__dict__["_as_tensors"] = use_safetensors
        try:
            super().save_params(**given, use_safetensors=use_safetensors)
        finally:
            del self.__dict__["_as_tensors"]


class _WithLearned:
    """A module whose state dict also carries what its net has learned beside the weights."""

    def __init__(self, net: SavedNet, module: nn.Module) -> None:
        self.net, self.module = net, module

    def state_dict(self) -> dict[str, Any]:
        """Return the module's state, with what was learned."""
        state: Any = self.module.state_dict()
        learned = self.net._learned()
        if not learned:
            return state
        learned |= {"seed_": self.net.seed_, "version": version()}
        if self.net._as_tensors:
            return {**state, _TENSOR: _tensor_of(learned)}
        state._metadata[_METADATA] = learned
        return state

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Load the module's state, and what was learned."""
        learned = getattr(state, "_metadata", {}).get(_METADATA, {})
        if _TENSOR in state:
            learned = json.loads(bytes(state.pop(_TENSOR).tolist()))
        if learned:
            name = f"file of a {type(self.net).__name__}'s weights"
            check_version(name, learned.get("version"))
        if self.net.random_state is None and "seed_" in learned:
            self.net.seed_ = learned["seed_"]
        self.net.__dict__.pop("_made_anew", None)
        self.net._take_learned(learned)
        return self.module.load_state_dict(state)


def _tensor_of(learned: dict[str, Any]) -> Tensor:
    return torch.tensor(list(json.dumps(learned).encode()), dtype=torch.uint8)
