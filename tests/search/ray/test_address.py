"""Addresses of Ray that cannot be meant or do not answer, and a Ray that does not start: each known cause has its sentence."""

import socket

import pytest

from datg.errors import ConfigError
from datg.search.environment import ignored_environment
from datg.search.ray.address import check_address, explain_connection, explain_start
from datg.search.ray.resources import Allocation, Resources, TrialResources


@pytest.fixture
def nowhere():
    """An address of this machine where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"127.0.0.1:{port}"


@pytest.mark.parametrize("address", ["", "None", "6379", "head", "head:", ":6379", "head:http"])
def test_an_address_that_cannot_be_one_is_refused_with_the_rule(address):
    with pytest.raises(ConfigError, match="`--address` must be HOST:PORT, or auto"):
        check_address(address)


def test_ray_client_is_refused():
    with pytest.raises(ConfigError, match="is of Ray Client"):
        check_address("ray://127.0.0.1:10001")


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "https://ray.example.org"])
def test_the_address_of_a_dashboard_is_refused_with_the_one_that_is_meant(address):
    with pytest.raises(ConfigError, match="is of Ray's dashboard.*HOST:6379"):
        check_address(address)


def test_who_does_not_answer_is_named_at_once(nowhere):
    with pytest.raises(ConfigError, match=f"`--address` {nowhere} does not answer .Connection refused."):
        check_address(nowhere)


@pytest.mark.parametrize("who", ["RAY_ADDRESS", "file"])
def test_auto_that_means_a_cluster_which_is_no_more_says_who_names_it(who, nowhere, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    check_address("auto")  # nothing is known of any: Ray looks itself
    if who == "RAY_ADDRESS":
        monkeypatch.setenv("RAY_ADDRESS", nowhere)
    else:
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text(nowhere)
    with pytest.raises(
        ConfigError, match=f"{nowhere}, which .*(RAY_ADDRESS|ray_current_cluster) names, does not answer"
    ):
        check_address("auto")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError("AF_UNIX path length cannot exceed 107 bytes: /long/plasma_store"),
            "is too long a path for Ray's sockets",
        ),
        (
            NotADirectoryError(20, "Not a directory", "/a/file/ray"),
            "cannot write /a/file/ray below RAY_TMPDIR /a/place (Not a",
        ),
        (PermissionError(13, "Permission denied", "/a/place/ray"), "export RAY_TMPDIR=/tmp"),
        (
            RuntimeError("head node did not answer"),
            "the cause is unknown, see its logs: /a/place/ray/session_latest/logs",
        ),
    ],
)
def test_a_ray_that_does_not_start_is_explained_as_far_as_its_cause_is_known(error, said, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/a/place")
    assert said in explain_start(error) and "token" not in explain_start(error)


def test_a_cluster_that_cannot_be_joined_is_not_blamed_on_its_token():
    said = explain_connection(ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379"), "10.0.0.1:6379")
    assert said.startswith("`--address` 10.0.0.1:6379: Failed to connect") and "Where they say Unauthenticated" in said


def test_what_a_search_does_not_follow_is_said():
    asked = {"RAY_ADDRESS": "a:1", "OMP_NUM_THREADS": "2", "MLFLOW_RUN_ID": "x", "MLFLOW_EXPERIMENT_ID": "3"}
    asked |= {"TUNE_RESULT_DIR": "/x", "RAY_AIR_LOCAL_CACHE_DIR": "/y"}
    said = ignored_environment(Resources(), asked)
    assert {line.partition(" is ")[0] for line in said} == asked.keys()
    assert (
        ignored_environment(Resources(address="b:2", cpus_per_trial=2), {"RAY_ADDRESS": "a:1", "OMP_NUM_THREADS": "2"})
        == []
    )


def test_what_runs_at_once_is_said(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    here = Allocation(TrialResources(2, 0.25), 8, 4, 4, Resources())
    assert here.describe() == (
        "up to 4 at once on a Ray started here, each with 2 CPU and 0.25 GPU; CUDA_VISIBLE_DEVICES is '1'"
    )
    asked = Resources(address="h:1", gpus_per_trial="auto")
    there = Allocation(TrialResources(1, 1.0), 8, 8, 8, asked, totals=(4, 64.0, 8.0))
    assert there.describe() == (
        "up to 8 at once on the cluster at h:1 (4 nodes, 64 CPUs, 8 GPUs), "
        "each with 1 CPU and a share of a GPU, to be measured"
    )
