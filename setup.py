"""Packages: `datg` and, as `datg.search_spaces`, the YAML files beside it. All else stands in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["datg", "datg.*"]), "datg.search_spaces"],
    package_dir={"datg.search_spaces": "search_spaces"},
    package_data={"datg.search_spaces": ["*.yaml"], "datg.report.page": ["templates/*.j2"]},
)
