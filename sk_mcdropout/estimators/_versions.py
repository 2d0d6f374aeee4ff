"""The version of this package in what is saved: another one that loads it says so."""

from typing import Any

from sklearn.exceptions import InconsistentVersionWarning

from sk_mcdropout.sampling import warn

__all__ = ["OtherVersionWarning", "check_version", "stamped", "version", "without_stamp"]

_KEY = "_sk_mcdropout_version"


class OtherVersionWarning(InconsistentVersionWarning):
    """An estimator, or a file of weights, was saved by another version of this package."""

    def __init__(self, message: str) -> None:
        UserWarning.__init__(self, message)

    __str__ = UserWarning.__str__


def version() -> str:
    """Return the version of this package, which says it last when it is imported."""
    from sk_mcdropout import __version__

    return __version__


def check_version(name: str, saved_by: str | None) -> None:
    """Warn if what is loaded was saved by another version.

    Parameters
    ----------
    name : str
        What is loaded.
    saved_by : str, optional
        The version that saved it; None for one that did not say so.
    """
    if saved_by == version():
        return
    message = (
        f"a {name} must be loaded by the version of sk_mcdropout that saved it. Got one of "
        f"{saved_by or 'a version before 0.2.0'}, and this is {version()}: its predictions may be "
        "others, or fail. Install that version to load it, or fit it anew."
    )
    warn(OtherVersionWarning(message))


def stamped(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state of an estimator with the version, as scikit-learn stamps its own."""
    return {**state, _KEY: version()}


def without_stamp(estimator: Any, state: dict[str, Any]) -> dict[str, Any]:
    """Return a state as it was before it was stamped; warn if another version did it."""
    check_version(type(estimator).__name__, state.get(_KEY))
    return {name: value for name, value in state.items() if name != _KEY}
