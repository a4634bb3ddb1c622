"""Sends MLflow what it lacks of a search: after its server was away, or to another server.

python launchers/sync_mlflow.py dermnet-20261122-1
python launchers/sync_mlflow.py dermnet-20261122-1 --tracking-uri http://127.0.0.1:5000
"""

from datg.cli.main import run

if __name__ == "__main__":
    run("sync_mlflow")
