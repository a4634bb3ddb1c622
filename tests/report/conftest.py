from tests.search.conftest import folder  # noqa: F401 - a fixture
