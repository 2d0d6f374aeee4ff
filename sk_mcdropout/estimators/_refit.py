"""What was set after training: what needs a refit says so, once."""

from collections.abc import Iterable
from numbers import Integral
from typing import Any

from skorch.exceptions import NotInitializedError

from sk_mcdropout.nn import uncompiled
from sk_mcdropout.sampling import warn

__all__ = [
    "check_calibrated_noise",
    "check_trained",
    "forget_warnings",
    "made_anew",
    "module_of",
    "note",
    "warn_of_changes",
    "warn_once",
]


def note(net: Any, *names: str) -> None:
    """Note the values of parameters that have just gone into the net."""
    values = {name: getattr(net, name) for name in names}
    vars(net)["_trained_with"] = {**vars(net).get("_trained_with", {}), **values}


def warn_of_changes(net: Any) -> None:
    """Warn of parameters that were set after they went into the net."""
    for name, value in vars(net).get("_trained_with", {}).items():
        now = getattr(net, name)
        if now is value or (now == value and type(now) is type(value)) or _is_state(now, value):
            continue
        again = "Call `initialize` and `fit`" if getattr(net, "warm_start", False) else "Call `fit`"
        warn_once(
            net,
            f"{name}={now!r}",
            f"`{name}` must be set before training. Got {now!r} for a net that was made with "
            f"{value!r}, which is what this prediction is from. {again} for it to take effect.",
        )


def _is_state(*values: Any) -> bool:
    """Return whether one value is a RandomState, of which a copy is as good."""
    return not all(v is None or isinstance(v, Integral | float | str) for v in values)


def warn_once(net: Any, what: str, message: str) -> None:
    """Warn at the line of the user, once for each fit."""
    warned: set[str] = vars(net).setdefault("_warned", set())
    if what not in warned:
        warned.add(what)
        warn(message)


def forget_warnings(net: Any) -> None:
    """Let the next fit warn anew."""
    vars(net)["_warned"] = set()


# -- a net made anew ---------------------------------------------------------------------------


def module_of(net: Any) -> Any:
    """Return the module of a net, without its compiled wrapping; None if there is none yet."""
    return uncompiled(vars(net).get("module_"))


def made_anew(names: Iterable[str]) -> str:
    """Return how parameters were set that made the net anew."""
    return f"set_params({', '.join(f'{name}=...' for name in names)})"


def check_trained(net: Any) -> None:
    """Refuse a net whose weights `set_params` has replaced by random ones."""
    by = vars(net).get("_made_anew")
    if by:
        raise NotInitializedError(
            f"the net must be trained to predict. Got a net that `{by}` made anew, with random "
            "weights. Call `fit`, or `initialize` to predict with these weights."
        )


# -- a noise other than the calibrated one -------------------------------------------------------


def check_calibrated_noise(net: Any) -> None:
    """Refuse a calibration that was made with another noise."""
    calibrated = vars(net).get("_calibrated_noise", ())
    if "calibration_" in vars(net) and calibrated != () and calibrated != net.noise:
        raise ValueError(
            f"`noise` must be the one that was calibrated, {calibrated!r}. Got {net.noise!r}. Call "
            "`calibrate` again, or set the noise back."
        )
