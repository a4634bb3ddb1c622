"""Optuna's CMA-ES sampler with its state in the study as JSON: the published one unpickles what it finds there."""

import json
import pickle
from typing import Any

import cmaes
import numpy as np
import optuna
from optuna.trial import FrozenTrial


class JsonCmaEsSampler(optuna.samplers.CmaEsSampler):
    """CMA-ES that never unpickles anything read from a study."""

    def _split_optimizer_str(self, optimizer_str: str) -> dict[str, str]:
        optimizer = pickle.loads(bytes.fromhex(optimizer_str))  # noqa: S301 - pickled by our caller just now
        return super()._split_optimizer_str(_to_json(optimizer))

    def _restore_optimizer(self, completed_trials: list[FrozenTrial]) -> Any:
        for trial in reversed(completed_trials):
            parts = {
                key: value for key, value in trial.system_attrs.items() if key.startswith(self._attr_key_optimizer)
            }
            if parts:
                return _from_json(self._concat_optimizer_attrs(parts))
        return None


def _to_json(optimizer: cmaes.CMA) -> str:
    """Arrays become lists below their name; floats are written so that they are read back to the bit."""
    state = {
        name: {"array": value.tolist()} if isinstance(value, np.ndarray) else value
        for name, value in optimizer.__getstate__().items()
    }
    return json.dumps(state, default=float)  # numpy's own scalars


def _from_json(text: str) -> cmaes.CMA:
    state = {
        name: np.array(value["array"]) if isinstance(value, dict) else value for name, value in json.loads(text).items()
    }
    optimizer = cmaes.CMA.__new__(cmaes.CMA)
    optimizer.__setstate__(state)
    return optimizer
