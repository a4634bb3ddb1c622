"""The versions that a result was made with."""

import hashlib
import importlib.metadata
from pathlib import Path

VERSIONS_OF = ("datg", "torch", "ray", "optuna", "mlflow", "numpy", "scikit-learn")


def versions() -> dict[str, str]:
    """Return the versions that a result was made with; ``code`` is a digest of this package's source files."""
    installed = {name: importlib.metadata.version(name) for name in VERSIONS_OF}
    return {**installed, "code": code_digest()}


def code_digest() -> str:
    """Tell two states of this package's code apart."""
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]
