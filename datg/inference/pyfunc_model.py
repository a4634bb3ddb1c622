"""The code of an MLflow model, which MLflow stores as this file: nothing is pickled."""

from pathlib import Path
from typing import Any

import pandas as pd  # when this is loaded, because MLflow reads the annotation
import torch
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel  # type: ignore[attr-defined]

from datg.inference.package import read_package
from datg.inference.requests import answer


class FewShotClassifier(PythonModel):
    """Answer requests with the model in its artifacts."""

    def load_context(self, context: Any) -> None:
        """Read the model."""
        self.model = read_package(Path(context.artifacts["model"]), torch.device("cpu"))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return label, probability and probabilities of each row without a label; see :func:`answer`."""
        return pd.DataFrame(answer(self.model, model_input))


set_model(FewShotClassifier())
