"""Estimators in a notebook: scikit-learn's picture, and below it what is drawn."""

from html import escape
from typing import Any

from sklearn.base import BaseEstimator

__all__ = ["ShownWithDropouts"]


class ShownWithDropouts(BaseEstimator):
    """Base class: a fitted estimator shows in HTML the dropouts that are on while it draws."""

    def _shown_sites(self) -> Any:
        """Return the dropouts to show; None where they are not known yet."""
        return vars(self).get("dropout_sites_")

    def _repr_html_inner(self):
        return super()._repr_html_inner() + _table_of(self._shown_sites())

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        if "text/html" in bundle:
            bundle["text/html"] += _table_of(self._shown_sites())
        return bundle


def _table_of(sites: Any) -> str:
    if sites is None:
        return ""
    summary = "<summary>Dropouts that are on while it draws</summary>"
    return f"<details>{summary}<pre>{escape(str(sites))}</pre></details>"
