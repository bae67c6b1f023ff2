"""An OpenAI-compatible endpoint in a thread, as kind or as hostile as a test wants it.

    with Hostile(lambda question, tried: "429" if tried == 0 else None) as server: ...

The label of a closed question stands in its text, ``[accept]``: so a test knows what the right answer is, and
the server counts how often each question was answered well; ``knows`` names the label by another rule.
``python tests/support/hostile_server.py`` lists the faults.
"""

import json
import re
import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MARK = re.compile(r"\[(accept|caution|refuse)\]")


def said(text, finish="stop", **more):
    """The body of a plain reply; ``more`` goes into the message."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **more}, "finish_reason": finish}
    return {"choices": [choice], "usage": {"prompt_tokens": 40, "completion_tokens": 5, "total_tokens": 45}}


def label(text):
    return said(json.dumps({"label": text}))


FAULTS = {
    "429": lambda h: h.send(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.01"}),
    "500": lambda h: h.send(500, {"error": {"message": "broken"}}, {"Retry-After": "0"}),
    "stall": lambda h: h.stall(),
    "half json": lambda h: h.send(200, b'{"choices": [{"message": {"content": "acc'),
    "html": lambda h: h.send(200, b"<html><body>accept</body></html>", {"Content-Type": "text/html"}),
    "empty choices": lambda h: h.send(200, {"choices": []}),
    "refusal": lambda h: h.send(200, said(None, refusal="I cannot judge that.")),
    "outside": lambda h: h.send(200, label("harmless")),
    "ignored": lambda h: h.send(200, said("I would say that this is fine and safe, so accept.")),
}
TRANSIENT = ("429", "500", "stall", "half json", "html", "empty choices")
"""Faults that asking again may mend."""


class HostileServer:
    """``plan(question, tried)`` names the fault of the ``tried``-th time a question is asked, or None."""

    def __init__(self, plan=lambda question, tried: None, *, enforces=True, logprobs=False, faults=FAULTS, knows=None):
        self.plan, self.enforces, self.logprobs, self.faults = plan, enforces, logprobs, faults
        self.knows = knows or (lambda question: (MARK.findall(question) or [None])[-1])
        self.tried, self.answered, self.requests = Counter(), Counter(), []
        self.lock, self.over = threading.Lock(), threading.Event()

    def __enter__(self):
        self.http = _Http(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        return self

    def __exit__(self, *error):
        self.over.set()
        self.http.shutdown()
        self.http.server_close()

    @property
    def questions(self):
        """Answered well, without probes: question to how often."""
        return Counter({q: n for q, n in self.answered.items() if "exactly this one word" not in q})


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, client_address):
        pass  # a caller that hung up is no news


def _handler(server):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self):
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            self.body = json.loads(raw)
            question = self.body["messages"][-1]["content"]
            with server.lock:
                tried = server.tried[question]
                server.tried[question] += 1
                server.requests.append((dict(self.headers), self.body))
            fault = server.plan(question, tried)
            if fault is not None:
                server.faults[fault](self)
                return
            with server.lock:
                server.answered[question] += 1
            self.send(200, self.plain(question))

        def plain(self, question):
            format_ = self.body.get("response_format")
            known = server.knows(question)
            if format_ and server.enforces:
                allowed = format_["json_schema"]["schema"]["properties"]["label"]["enum"]
                told = label(known if known in allowed else allowed[0])
            elif format_ or "Reply with" in question:
                told = said(known or "hello")
            else:
                told = said(f"You asked: {question}")
            if server.logprobs and self.body.get("logprobs"):
                told["choices"][0]["logprobs"] = {"content": weights(told["choices"][0]["message"]["content"])}
            return told

        def send(self, status, body, headers=None):
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def stall(self):
            """Holds the line until the caller hangs up or the test is over."""
            server.over.wait(5)
            self.close_connection = True

        def drip(self, data, seconds):
            """Byte by byte: each one in time, all of them not."""
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            for i in range(len(data)):
                if server.over.is_set():
                    return
                self.wfile.write(data[i : i + 1])
                self.wfile.flush()
                time.sleep(seconds)

        def drip_head(self, seconds):
            for sign in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 200:
                if server.over.is_set():
                    return
                self.wfile.write(bytes([sign]))
                time.sleep(seconds)

        def torn(self, data):
            """Promises more than comes."""
            self.send_response(200)
            self.send_header("Content-Length", str(len(data) + 50))
            self.end_headers()
            self.wfile.write(data)
            self.hang_up()

        def hang_up(self):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *_):
            pass

    return Handler


def weights(text):
    """Log-probabilities as vLLM shows them, one token a letter; nine in ten for the label that was said."""
    match = re.search(r"accept|caution|refuse|hello", text)
    begins = match.start() if match else -1
    tokens = [{"token": sign, "logprob": 0.0, "top_logprobs": []} for sign in text]
    if begins >= 0:
        top = [{"token": text[begins], "logprob": -0.105}]
        top += [{"token": sign, "logprob": -3.0} for sign in "acr" if sign != text[begins]]
        tokens[begins] = {"token": text[begins], "logprob": -0.105, "top_logprobs": top}
    return tokens


if __name__ == "__main__":
    print(*FAULTS, sep="\n")
