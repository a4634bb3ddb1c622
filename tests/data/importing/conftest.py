import pytest

from datg.data.import_settings import ImportSettings
from datg.data.importing.run import ImportRequest, import_raw


@pytest.fixture
def bring_in(tmp_path):
    """Imports into ``tmp_path / "data"``; what the import says is collected in ``said``."""

    def act(raw, name="mine", task=None, **settings):
        values = {
            "min_examples": 2,
            "base_classes": 2,
            "validation_classes": 2,
            "novel_classes": 2,
            **settings,
        }
        request = ImportRequest(name=name, raw=raw, settings=ImportSettings.from_dict(values, source="test"), task=task)
        return import_raw(request, tmp_path / "data", notify=act.said.append, progress=lambda *_: None)

    act.said = []
    return act
