"""A stand-in for W&B's servers on the loopback interface: keeps everything it is sent."""

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class Received:
    """What arrived: GraphQL requests, and the lines of the file streams."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[dict[str, Any]] = []
        self.history: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}

    def operations(self, name: str) -> list[dict[str, Any]]:
        """Variables of the requests whose query names an operation."""
        return [request["variables"] for request in self.requests if name in request["query"]]


@contextmanager
def standin() -> Iterator[Received]:
    """Serve while the block runs."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
            answer: dict[str, Any] = {}
            if self.path == "/graphql":
                request = json.loads(body)
                received.requests.append(request)
                answer = {"data": _answer(request, received.url)}
            elif self.path.endswith("/file_stream"):
                files = json.loads(body).get("files", {})
                lines = files.get("wandb-history.jsonl", {}).get("content", [])
                received.history += [json.loads(line) for line in lines]
                for line in files.get("wandb-summary.json", {}).get("content", []):
                    received.summary |= json.loads(line)
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        do_PUT = do_GET = do_POST

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(request: dict[str, Any], url: str) -> dict[str, Any]:
    query, variables = request["query"], request.get("variables") or {}
    if "upsertView" in query:
        return {"upsertView": {"view": {"id": "1", "name": "nw-dashboard-v"}, "inserted": True}}
    if "UpsertBucket" in query:
        name = variables.get("name")
        project = {"name": variables.get("project"), "entity": {"name": "team"}}
        return {
            "upsertBucket": {
                "bucket": {"id": "1", "name": name, "displayName": name, "project": project},
                "inserted": True,
            }
        }
    if "CreateRunFiles" in query:
        files = [
            {"name": name, "uploadUrl": f"{url}/upload/{i}"}
            for i, name in enumerate(variables["files"])
        ]
        return {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": files}}
    if "query ArtifactType" in query:
        return {"project": {"artifact": None}}  # a table's artifact does not exist yet
    if "CreateArtifact" in query:
        artifact = {
            "id": "1",
            "state": "COMMITTED",
            "artifactSequence": {"id": "1", "latestArtifact": None},
        }
        return {"createArtifact": {"artifact": artifact}}
    if "viewer" in query:
        return {
            "viewer": {
                "id": "1",
                "username": "tester",
                "entity": "team",
                "flags": "{}",
                "teams": {"edges": []},
            }
        }
    return {}
