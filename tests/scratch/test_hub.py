"""`push_to_hub` against a server on this machine that answers as the Hub does."""

import base64
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch

from scratch import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel

TINY = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": (8,),
    "down_block_types": ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",),
    "norm_num_groups": 2,
}


class Hub(BaseHTTPRequestHandler):
    """Makes repositories and takes commits; what came is kept in `server.seen`."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        seen: dict[str, Any] = self.server.seen  # type: ignore[attr-defined]
        seen["token"] = self.headers.get("Authorization")
        if self.path == "/api/repos/create":
            seen["made"] = json.loads(body)
            name = f"me/{seen['made']['name']}"  # without a namespace it is the user's
            return self._answer({"url": f"http://{self.headers['Host']}/{name}", "name": name})
        if "/preupload/" in self.path:
            files = [
                {"path": f["path"], "uploadMode": "regular"} for f in json.loads(body)["files"]
            ]
            return self._answer({"files": [{**file, "shouldIgnore": False} for file in files]})
        assert "/commit/" in self.path, self.path
        lines = [json.loads(line) for line in body.splitlines()]
        seen["header"] = lines[0]["value"]
        seen["files"] = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines[1:]
        }
        return self._answer(
            {"commitOid": "0" * 40, "commitUrl": f"http://{self.headers['Host']}/me/mine/commit/0"}
        )

    def do_GET(self) -> None:
        self._answer({"id": "me/mine", "siblings": [], "sha": "0" * 40})

    def _answer(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What the Hub was sent."""
    server = HTTPServer(("127.0.0.1", 0), Hub)
    server.seen = {}  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub, "HfApi", partial(huggingface_hub.HfApi, endpoint=address))
    yield server.seen  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


def pipeline() -> DDPMPipeline:
    torch.manual_seed(0)
    return DDPMPipeline(UNet2DModel(**TINY), DDPMScheduler(num_train_timesteps=50))


def put(files: dict[str, bytes], folder: Path) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_what_was_pushed_is_the_pipeline(hub: dict[str, Any], tmp_path: Path) -> None:
    ours = pipeline()
    address = ours.push_to_hub("me/mine", "A first one", private=True, token="hf_not_a_token")
    assert address.endswith("/me/mine/commit/0")
    assert hub["made"]["name"] == "mine"
    made = hub["made"]  # the client's words, by version
    assert made.get("private") is True or made.get("visibility") == "private"
    assert hub["token"] == "Bearer hf_not_a_token"
    assert hub["header"]["summary"] == "A first one"
    twin = DDPMPipeline.from_pretrained(put(hub["files"], tmp_path))
    assert twin.scheduler.config == ours.scheduler.config
    for key, weights in ours.unet.state_dict().items():
        assert torch.equal(twin.unet.state_dict()[key], weights), key


def test_parts_can_be_pushed_alone(hub: dict[str, Any], tmp_path: Path) -> None:
    scheduler = DDIMScheduler(num_train_timesteps=50)
    scheduler.push_to_hub("me/scheduler", token="hf_not_a_token")
    assert set(hub["files"]) == {"scheduler_config.json"}
    assert hub["header"]["summary"] == "Upload weights and configs"
    there = put(hub["files"], tmp_path)
    assert DDIMScheduler.from_pretrained(there).config == scheduler.config
    pipeline().unet.push_to_hub("me/unet", token="hf_not_a_token")
    assert set(hub["files"]) == {"config.json", "diffusion_pytorch_model.safetensors"}


def test_saving_can_push_too_under_the_name_of_the_folder(
    hub: dict[str, Any], tmp_path: Path
) -> None:
    for part in (pipeline(), pipeline().unet, pipeline().scheduler):
        folder = tmp_path / type(part).__name__
        part.save_pretrained(folder, push_to_hub=True)
        assert hub["made"]["name"] == folder.name
        written = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
        assert written == set(hub["files"])
        part.save_pretrained(folder, push_to_hub=True, repo_id="me/other")
        assert hub["made"]["name"] == "other"


def test_no_hub_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = partial(huggingface_hub.HfApi, endpoint="http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub, "HfApi", nowhere)
    with pytest.raises(ValueError, match="'me/mine' could not be written on the Hub") as refused:
        pipeline().scheduler.push_to_hub("me/mine", token="hf_not_a_token")
    assert "\n" not in str(refused.value)
    assert "hf auth login" in str(refused.value)
