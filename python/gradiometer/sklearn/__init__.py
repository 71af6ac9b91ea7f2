"""scikit-learn estimators on our networks. Needs scikit-learn; imported when first used."""

from __future__ import annotations

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError('gradiometer.sklearn needs scikit-learn: pip install "gradiometer[sklearn]"') from error

from gradiometer.sklearn.estimators import MLPClassifier, MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
