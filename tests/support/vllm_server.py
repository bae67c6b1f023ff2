"""A server with vLLM's paths that ``models/vllm.py`` asks, which answers with our own decoder."""

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bedside.core.protocols import Launch
from bedside.core.types import Checkpoint
from bedside.models.hf import Local
from bedside.training.adapters import digest_adapter
from bedside.training.decoding import TokenSampler, decode
from bedside.training.logprobs import next_token_logprobs


class VllmLike:
    """``failing``: how many completions are answered with 503 first. ``requests``: every path and body."""

    def __init__(self, model, *, version="0.32.0", failing=0, labels=True):
        self.model = Local(model=str(model)).open(Launch())
        self.version, self.failing, self.labels = version, failing, labels
        self.adapters, self.requests, self.lock = {}, [], threading.Lock()

    def __enter__(self):
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        return self

    def __exit__(self, *error):
        self.http.shutdown()
        self.http.server_close()

    def loads(self, body):
        name, folder = body["lora_name"], Path(body["lora_path"])
        if name in self.adapters:
            return 400, {"error": {"message": f"{name} has already been loaded"}}
        assert name == digest_adapter(folder)
        self.adapters[name] = folder
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    def completes(self, body):
        if self.failing:
            self.failing -= 1
            return 503, {"error": {"message": "busy"}}
        if body["model"] != "base" and body["model"] not in self.adapters:
            return 404, {"error": {"message": "no such model"}}
        folder = self.adapters.get(body["model"])
        module = replace(self.model, folder=folder, checkpoint=Checkpoint(base="b")).module()
        prompt, choice = body["prompt"], {"index": 0, "finish_reason": "stop", "text": "", "logprobs": None}
        if "logprob_token_ids" in body:
            tokens = body["logprob_token_ids"] if self.labels else []
            nats = next_token_logprobs(module, [prompt], tokens, 0)[0].tolist() if tokens else []
            top = {f"token_id:{token}": value for token, value in zip(tokens, nats, strict=True)}
            choice["logprobs"] = {"top_logprobs": [top]}
        else:
            sampler = TokenSampler(body["temperature"], body["top_p"], body["seed"])
            (ids,) = decode(module, [prompt], [body["max_tokens"]], frozenset(body["stop_token_ids"]), sampler)
            choice["token_ids"] = ids
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(choice.get("token_ids", [0]))}
        return 200, {"id": "cmpl", "choices": [choice], "usage": usage}

    def answer(self, path, body):
        with self.lock:
            self.requests.append((path, body))
            if path == "/version":
                return 200, {"version": self.version}
            if path == "/v1/models":
                adapters = [{"id": name, "parent": "base"} for name in self.adapters]
                return 200, {"data": [*adapters, {"id": "base", "parent": None}]}
            return {"/v1/load_lora_adapter": self.loads, "/v1/completions": self.completes}[path](body)


def _handler(server):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self):
            self._reply(None)

        def do_POST(self):
            self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _reply(self, body):
            status, content = server.answer(self.path, body)
            text = content if isinstance(content, str) else json.dumps(content)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    return Handler
