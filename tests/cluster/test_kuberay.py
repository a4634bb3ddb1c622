"""The files for Kubernetes say only what Kubernetes 1.37 and KubeRay 1.7 know, and fit together."""

import copy
import gzip
import shlex
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.cluster.conftest import parsed

FOLDER = Path("launchers/cluster/kuberay")
RAYJOB = Path(__file__).parent / "kuberay" / "ray.io_rayjobs.yaml.gz"
KUBERNETES = "1.37"


def documents(file):
    return list(yaml.safe_load_all((FOLDER / file).read_text()))


KUSTOMIZATION = documents("kustomization.yaml")[0]
RESOURCES = [(file, resource) for file in KUSTOMIZATION["resources"] for resource in documents(file)]
NAMES = [f"{file}:{resource['kind']}" for file, resource in RESOURCES]


def refusing_unknown_keys(schema):
    """The same schema without any key that it does not name, as the API server prunes them and strict clients refuse them."""
    if isinstance(schema, list):
        return [refusing_unknown_keys(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: refusing_unknown_keys(value) for key, value in schema.items()}
    named = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if named and not schema.get("x-kubernetes-preserve-unknown-fields"):
        strict["additionalProperties"] = False
    return strict


@pytest.fixture(scope="module")
def rayjob_schema():
    definition = yaml.load(gzip.decompress(RAYJOB.read_bytes()), yaml.CSafeLoader)
    (version,) = (entry for entry in definition["spec"]["versions"] if entry["name"] == "v1")
    schema = refusing_unknown_keys(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"].pop("additionalProperties", None)
    return jsonschema.Draft7Validator(schema)


def mistakes(schema, resource):
    return [f"{error.json_path}: {error.message}" for error in schema.iter_errors(resource)]


@pytest.mark.parametrize(("file", "resource"), RESOURCES, ids=NAMES)
def test_every_resource_is_valid(file, resource, rayjob_schema):
    if resource["kind"] == "RayJob":
        assert mistakes(rayjob_schema, resource) == []
    else:
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)


@pytest.mark.parametrize(
    ("path", "key", "value", "found"),
    [
        (("spec",), "shutdownAfterJobFinish", True, "'shutdownAfterJobFinish' was unexpected"),
        (("spec", "rayClusterSpec", "authOptions"), "mode", "tokens", "'tokens' is not one of"),
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec"), "volume", [], "'volume' was unexpected"),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams"), "num-cpus", 0, "0 is not of type 'string'"),
    ],
)
def test_a_mistake_is_found(path, key, value, found, rayjob_schema):
    (rayjob,) = documents("rayjob.yaml")
    wrong = copy.deepcopy(rayjob)
    place = wrong
    for name in path:
        place = place[name]
    place[key] = value
    (mistake,) = mistakes(rayjob_schema, wrong)
    assert found in mistake


def test_a_mistake_in_the_others_is_found():
    policy = copy.deepcopy(documents("network-policy.yaml")[0])
    policy["spec"]["ingres"] = policy["spec"].pop("ingress")
    with pytest.raises(kubernetes_validate.ValidationError, match="ingres"):
        kubernetes_validate.validate(policy, KUBERNETES, strict=True)


def test_what_they_name_is_there():
    text = yaml.safe_dump_all(resource for _, resource in RESOURCES)
    secrets = {entry["name"] for entry in KUSTOMIZATION["secretGenerator"]}
    claims = {resource["metadata"]["name"] for _, resource in RESOURCES if resource["kind"] == "PersistentVolumeClaim"}
    services = {resource["metadata"]["name"] for _, resource in RESOURCES if resource["kind"] == "Service"}
    found = {"secretName": set(), "claimName": set()}

    def walk(value):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if key in found:
                found[key].add(inner)
            if isinstance(inner, dict | list):
                walk(inner)

    walk([resource for _, resource in RESOURCES])
    assert found == {"secretName": secrets, "claimName": claims}
    assert services == {"mlflow", "postgres"} and "http://mlflow:5000" in text and "@postgres:5432/datg" in text
    assert {entry["name"] for entry in KUSTOMIZATION["images"]} == {"datg"} and "image: datg" in text
    ignored = Path(".gitignore").read_text().split()
    made = [name for entry in KUSTOMIZATION["secretGenerator"] for name in entry["files"]]
    assert all(f"/{FOLDER}/{name.rpartition('=')[2]}" in ignored for name in made), "no secret is ever committed"


def test_its_command_is_one_of_ours():
    (rayjob,) = documents("rayjob.yaml")
    program, name, *arguments = shlex.split(rayjob["spec"]["entrypoint"])
    options = parsed(name, arguments)
    assert program == "datg" and options["name"] and options["address"] == "auto"
