"""A real MLflow server on loopback, and a proxy before it that misbehaves on demand."""

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class MlflowServer:
    """``mlflow server`` as a process."""

    def __init__(self, folder: Path, store: str | None = None) -> None:
        self.port, self._log = free_port(), folder / "server.txt"
        self.uri = f"http://127.0.0.1:{self.port}"
        self.environment = os.environ | {
            "MLFLOW_BACKEND_STORE_URI": store or f"sqlite:///{folder}/server.db",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        self._command = [sys.executable, "-m", "mlflow", "server", "--artifacts-destination", str(folder / "artifacts")]
        self._command += ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        self.start()

    def start(self) -> None:
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._command, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                if urllib.request.urlopen(f"{self.uri}/health", timeout=2).read() == b"OK":
                    return
            except (OSError, urllib.error.URLError):
                time.sleep(0.2)
        raise RuntimeError(self._log.read_text()[-2000:])

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)


class Proxy:
    """Passes requests on; ``mood`` says how: well, slow, 500, 401, or away (it does not answer a connection)."""

    def __init__(self, server: MlflowServer) -> None:
        self.mood, self.slow = "well", 2.0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                mood = proxy.mood
                if mood == "slow":
                    time.sleep(proxy.slow)
                if mood == "away":
                    self.connection.close()
                    return
                if mood in ("500", "401"):
                    self.send_response(int(mood))
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                upstream = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
                upstream.request(self.command, self.path, body, dict(self.headers))
                answer = upstream.getresponse()
                content = answer.read()
                self.send_response(answer.status)
                for key, value in answer.getheaders():
                    if key.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(key, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_any  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                pass

        self._http = Quiet(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
