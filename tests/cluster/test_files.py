"""The other files that start a cluster: what a machine can check of them without a cluster."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml

from tests.cluster.conftest import parsed

FOLDER = Path("launchers/cluster")
UNITS = sorted(FOLDER.glob("systemd/*.service"))


def unit(file):
    """Keys and values of a unit; systemd allows a key twice, which no unit of ours needs."""
    lines = [line for line in file.read_text().splitlines() if line and line[0] not in "#["]
    values = dict(line.split("=", 1) for line in lines)
    assert len(values) == len(lines)
    return values


def test_ray_up_reads_its_file():
    cluster = yaml.safe_load((FOLDER / "ray_up.yaml").read_text())
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(cluster, schema)
    with pytest.raises(jsonschema.ValidationError, match="setup_command"):
        jsonschema.validate({**cluster, "setup_command": []}, schema)
    starts = [
        line for key in ("head", "worker") for line in cluster[f"{key}_start_ray_commands"] if "ray start" in line
    ]
    assert len(starts) == 2 and all("RAY_AUTH_MODE=token" in line for line in starts)


def test_the_image_gets_all_that_the_package_is_made_of():
    text = (FOLDER / "Dockerfile").read_text()
    copied = {name for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for name in line.split()}
    assert all(Path(name).exists() for name in copied)
    packages = re.search(r"include=\[\"(\w+)\"", Path("setup.py").read_text())[1]
    assert copied >= {"pyproject.toml", "setup.py", "constraints.txt", packages, "search_spaces"}
    let_in = {line[1:] for line in Path(".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert let_in == copied, "and nothing else reaches the builder"
    assert "USER 1000" in text and '"tini"' in text and "apt-get install" in text


@pytest.mark.parametrize("file", UNITS, ids=lambda file: file.name)
def test_units_are_read_by_systemd(file, tmp_path):
    """systemd 252 says nothing of a good file; it looks for its programs, which are put where they would be."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze: apt-get install systemd")
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = re.sub(r"^ExecStart=\S+", f"ExecStart={program}", file.read_text(), flags=re.MULTILINE)
    placed = tmp_path / file.name.replace("@", "@x")

    def complaints(text):
        placed.write_text(text)
        found = subprocess.run(["systemd-analyze", "verify", "--man=no", placed], capture_output=True, text=True)
        return found.returncode, found.stderr

    assert complaints(text) == (0, "")
    assert "Unknown key 'RestartSecs'" in complaints(text.replace("RestartSec=", "RestartSecs="))[1]


def test_the_units_call_what_is_there():
    search, ray_unit = unit(FOLDER / "systemd" / "datg-search@.service"), unit(FOLDER / "systemd" / "datg-ray.service")
    program, name, *arguments = shlex.split(
        search["ExecStart"].replace("%i", "nightly").replace("$ARGUMENTS", "--dataset dermnet")
    )
    assert program.endswith("/bin/datg") and parsed(name, arguments)["name"] == "nightly"
    assert search["SuccessExitStatus"] == "75" and search["RestartPreventExitStatus"] == "2 3 4"
    assert "--block" in ray_unit["ExecStart"] and "RAY_AUTH_MODE=token" in ray_unit["Environment"]


def test_the_slurm_script_is_bash():
    subprocess.run(["bash", "-n", FOLDER / "slurm.sbatch"], check=True)
