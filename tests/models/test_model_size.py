"""How many weights a model has, from its headers or its name; and which models an endpoint has."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bedside.core.errors import ModelError
from bedside.models.model_size import weights
from bedside.models.served_models import base_url, served_models


@pytest.mark.parametrize(
    ("name", "n"),
    [
        ("meta-llama/Llama-3.2-3B-Instruct", 3_000_000_000),
        ("google/gemma-3-270m-it", 270_000_000),
        ("mistralai/Mixtral-8x7B-v0.1", 56_000_000_000),
        ("Llama-3-8B-Q4_K_M.gguf", 8_000_000_000),
        ("smollm2", 135_000_000),
        ("embedded", 1_977_760),
        ("team/m3-8bit", None),
        ("our-model", None),
    ],
)
def test_a_name_or_a_header_says_the_size(name, n):
    assert weights(name) == n


def test_an_adapter_has_the_size_of_its_base(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "a/b-1.5B"}))
    assert weights(str(tmp_path)) == 1_500_000_000


@pytest.fixture
def endpoint():
    """A server that answers GET /v1/models with its ``body``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.server.body if self.path == "/v1/models" else b"{}"
            self.server.keys.append(self.headers.get("Authorization"))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.keys = []
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_an_endpoint_says_its_models(endpoint):
    endpoint.body = json.dumps({"data": [{"id": "big"}, {"id": "small"}, 3]}).encode()
    url = base_url(f"http://127.0.0.1:{endpoint.server_address[1]}")
    assert served_models(url, "k", "KEY") == ("big", "small")
    assert endpoint.keys == ["Bearer k"]
    endpoint.body = b"[]"
    with pytest.raises(ModelError, match="the reply is no JSON object"):
        served_models(url)
