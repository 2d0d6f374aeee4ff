"""The parameters and the state of a skorch net: set and shown as scikit-learn does."""

from sklearn.base import BaseEstimator
from skorch import NeuralNet

from ._parameters import (
    check_arguments,
    parameter_names,
    refuse_mistyped,
    refuse_mistyped_parts,
)
from ._refit import check_trained, made_anew, module_of

__all__ = ["SettableNet"]


class SettableNet(NeuralNet):
    """Base class: parameters that cannot be meant, or that need a refit, are answered."""

    # -- parameters --------------------------------------------------------------------------

    def _get_param_names(self):
        return [name for name in super()._get_param_names() if not name.startswith("_")]

    # skorch shows what is in the net; the parameters are shown as scikit-learn shows them.
    __repr__ = BaseEstimator.__repr__

    def _get_params_html(self, deep=True, **options):
        return super()._get_params_html(deep=False, **options)  # without skorch's own callbacks

    def set_params(self, **params):
        """Set parameters, as skorch does; one of the module makes the net anew, untrained.

        Parameters
        ----------
        **params : dict
            The parameters.

        Returns
        -------
        self : object
            The estimator.
        """
        self._refuse_mistyped(params)
        before = module_of(self)
        try:
            return super().set_params(**self._set_plainly(params))
        finally:
            if before is not None and module_of(self) is not before:
                parts = (*self._modules, "compile")
                names = [name for name in params if name.partition("__")[0] in parts]
                self.__dict__["_made_anew"] = made_anew(names)
                self.__dict__.pop("calibration_", None)

    def _set_plainly(self, params):
        """Set what nothing is made of, and return the other parameters."""
        mine = {}
        if self.initialized_:  # which skorch refuses
            parts = "iterator_train", "iterator_valid", "dataset"
            mine = {k: v for k, v in params.items() if k.partition("__")[0] in parts}
            self._params_to_validate.update(mine)
        elif "callbacks" in params and not hasattr(self, "callbacks_"):
            mine = {"callbacks": params["callbacks"]}
        self.__dict__.update(mine)
        if self.initialized_ and mine:
            self._validate_params()
        return {name: value for name, value in params.items() if name not in mine}

    def _refuse_mistyped(self, params):
        """Refuse mistyped names; those that begin like a part of the net are left to skorch."""
        known = {*parameter_names(type(self)), *vars(self)}
        parts = *self.prefixes_, "module", "criterion", "optimizer"
        names = [n for n in params if "__" not in n and not n.startswith(parts)]
        refuse_mistyped(type(self).__name__, names, known)
        refuse_mistyped_parts(type(self).__name__, params, {*parts, "dataset", "callbacks"})

    def initialized_instance(self, instance_or_cls, kwargs):
        """Return an instance, as skorch does; refuse arguments that its class does not take.

        Parameters
        ----------
        instance_or_cls : object
            The instance, or a class or function that makes it.
        kwargs : dict
            Its arguments.

        Returns
        -------
        object
            The instance.
        """
        if self.init_context_ in ("module", "criterion"):
            check_arguments(instance_or_cls, self.init_context_, kwargs)
        return super().initialized_instance(instance_or_cls, kwargs)

    # -- state -------------------------------------------------------------------------------

    def check_is_fitted(self, attributes=None, *args, **kwargs):
        """Check that the net is there, and not one that `set_params` made anew.

        Parameters
        ----------
        attributes : iterable of str, optional
            What must be there; by default the module.
        *args, **kwargs
            As in skorch.

        Raises
        ------
        NotInitializedError
            If it is not.
        """
        super().check_is_fitted(attributes, *args, **kwargs)
        if attributes is None:
            check_trained(self)
