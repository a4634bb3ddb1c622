"""What MLflow refuses for good is told apart from what passes, whole, and at once where it can be known."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from datg.errors import ConfigError
from datg.tracking.store import check_tracking_uri
from tests.tracking.test_view import folders, records_of, view_of  # noqa: F401 (a fixture)

LONG = "user lena may not write into this experiment; " + "ask its owner. " * 30 + "The form is at /access."


@pytest.fixture
def refusing():
    """The URL of a server that answers everything with a status that can be set."""

    class Handler(BaseHTTPRequestHandler):
        status = 403

        def do_GET(self):
            said = json.dumps({"error_code": "PERMISSION_DENIED", "message": LONG}) if self.status == 403 else "no"
            body = said.encode()
            self.send_response(self.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Handler, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "passes"), [(403, False), (401, False), (404, False), (429, True), (500, True), (503, True)]
)
def test_what_a_server_answers(status, passes, refusing, tmp_path, folders):  # noqa: F811
    handler, uri = refusing
    handler.status = status
    said = []
    view = view_of(tmp_path, lambda: records_of(folders), uri=uri, warnings=said)
    assert not view.try_to(view.sync)
    (text,) = said
    if passes:
        assert text.endswith("they are sent later.") and len(text) < 400
    else:
        assert "and will go on refusing them; once that is mended, sync_mlflow sends them." in text
    if status == 403:
        assert "The form is at /access" in text, "whole"


def test_the_end_of_a_search_does_not_wait_for_what_does_not_pass(refusing, tmp_path, folders):  # noqa: F811
    view = view_of(tmp_path, lambda: records_of(folders), uri=refusing[1])
    view.start()
    began = time.monotonic()
    assert view.close(status="FINISHED").points > 0
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("uri", ["file:./mlruns", "file:///tmp/mlruns", "./mlruns", "/tmp/mlruns"])
def test_a_folder_is_refused_before_anything_begins(uri, monkeypatch):
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    with pytest.raises(ConfigError, match="--tracking-uri.*sqlite:///mlflow.db"):
        check_tracking_uri(uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI"):
        check_tracking_uri(uri)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert check_tracking_uri(uri) == uri


@pytest.mark.parametrize(
    "uri", [None, "sqlite:///a.db", "http://127.0.0.1:5000", "postgresql+psycopg://host/db", "databricks"]
)
def test_databases_and_servers_are_taken(uri):
    assert check_tracking_uri(uri) == uri
