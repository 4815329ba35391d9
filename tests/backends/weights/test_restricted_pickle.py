"""Checkpoints as they are on disk, and attacks that look like them."""

import argparse
import collections
import io
import pickle
import struct
import sys
import types
import typing
import zipfile

import numpy as np
import pytest
import torch

from tests.faults.mutations import peak_mb
from uosam.backends.weights.restricted_pickle import Inert, read_checkpoint
from uosam.backends.weights.state_dict import entry, fill, take, tensors
from uosam.errors import BackendError

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])


def save(content, path, zipped=True):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.fixture
def foreign():
    """Classes of packages that exist while a file is written and are gone when it is read."""
    names = {
        "omegaconf.dictconfig": ["DictConfig"],
        "omegaconf.base": ["ContainerMetadata", "Metadata"],
        "omegaconf.nodes": ["AnyNode"],
        "pytorch_lightning.callbacks.model_checkpoint": ["ModelCheckpoint"],
    }
    modules = {}
    for module_name, classes in names.items():
        for depth in range(1, module_name.count(".") + 2):
            name = ".".join(module_name.split(".")[:depth])
            modules.setdefault(name, types.ModuleType(name))
        for name in classes:
            made = type(name, (dict,) if name == "DictConfig" else (), {"__module__": module_name})
            setattr(modules[module_name], name, made)
    sys.modules.update(modules)
    yield types.SimpleNamespace(
        **{name: getattr(modules[module], name) for module, n in names.items() for name in n}
    )
    for name in modules:
        sys.modules.pop(name, None)


@FORMATS
def test_tensors_come_through_unchanged(tmp_path, zipped):
    base = torch.randn(6, 5)
    content = collections.OrderedDict(
        weight=base,
        view=base[1:3, ::2],
        parameter=torch.nn.Parameter(torch.ones(2)),
        half=torch.ones(3, dtype=torch.half),
        count=torch.tensor(7),
        empty=torch.zeros(0, 4),
    )
    actual = read_checkpoint(save(content, tmp_path / "file.pth", zipped))
    assert list(actual) == list(content)
    for key, value in content.items():
        assert torch.equal(actual[key], value)
        assert actual[key].dtype == value.dtype


@FORMATS
def test_training_state_of_many_kinds(tmp_path, zipped, foreign):
    config = foreign.DictConfig(dim=90)
    config.metadata = foreign.ContainerMetadata()
    config.metadata.key_type = typing.Any
    config["node"] = foreign.AnyNode()
    content = {
        "epoch": 3,
        "args": argparse.Namespace(arch="resnet18", lr=0.1),
        "hyper_parameters": {"n_classes": 27, "cfg": config},
        "callbacks": {foreign.ModelCheckpoint: {"best": 1.0}, "by name": {}},
        "optimizer": {
            "param_groups": [{"lr": np.float64(0.25), "steps": np.int32(7)}],
            "state": collections.defaultdict(dict, {0: {"exp_avg": torch.ones(2)}}),
        },
        "state_dict": {"weight": torch.arange(3.0)},
    }
    path = save(content, tmp_path / "file.pth", zipped)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    for name in [name for name in sys.modules if name.split(".")[0] == "omegaconf"]:
        del sys.modules[name]
    actual = read_checkpoint(path)
    assert actual["epoch"] == 3
    assert torch.equal(actual["state_dict"]["weight"], torch.arange(3.0))
    assert actual["optimizer"]["param_groups"] == [{"lr": 0.25, "steps": 7}]
    assert torch.equal(actual["optimizer"]["state"][0]["exp_avg"], torch.ones(2))
    assert isinstance(actual["args"], Inert)
    assert isinstance(actual["hyper_parameters"]["cfg"], Inert)
    assert actual["hyper_parameters"]["n_classes"] == 27
    assert sorted(map(str, actual["callbacks"].values())) == ["{'best': 1.0}", "{}"]
    assert "omegaconf" not in sys.modules


def test_numpy_scalars_of_both_generations(tmp_path):
    """NumPy 1 wrote another module name, and big-endian numbers keep their order."""
    stream = pickle.dumps({"lr": np.float64(0.1), "big": np.array(3, ">i4")[()]}, protocol=2)
    assert b"numpy._core.multiarray" in stream
    old = stream.replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray")
    for pickled in (stream, old):
        path = rewrite_pickle(tmp_path / "file.pth", pickled)
        assert read_checkpoint(path) == {"lr": 0.1, "big": 3}


def rewrite_pickle(path, pickled):
    """A zip file of torch whose pickle is replaced."""
    buffer = io.BytesIO()
    torch.save({}, buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            target.writestr(name, pickled if name.endswith("data.pkl") else source.read(name))
    return path


def test_cuda_tensors_are_read_without_cuda(tmp_path):
    buffer = io.BytesIO()
    torch.save({"weight": torch.ones(2)}, buffer, _use_new_zipfile_serialization=False)
    moved = buffer.getvalue().replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
    assert moved != buffer.getvalue()
    path = tmp_path / "file.pth"
    path.write_bytes(moved)
    assert read_checkpoint(path)["weight"].device == torch.device("cpu")


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@FORMATS
@pytest.mark.parametrize("name", ["os.system", "builtins.exec", "builtins.open", "subprocess.run"])
def test_a_pickle_bomb_is_refused_and_does_not_go_off(tmp_path, zipped, name):
    import os
    import subprocess

    trace = tmp_path / "trace"
    bombs = {
        "os.system": Calls(os.system, f"touch {trace}"),
        "builtins.exec": Calls(exec, f"open({str(trace)!r}, 'w').close()"),
        "builtins.open": Calls(open, str(trace), "w"),
        "subprocess.run": Calls(subprocess.run, ["touch", str(trace)]),
    }
    path = save({"state_dict": {}, "bomb": bombs[name]}, tmp_path / "file.pth", zipped)
    # The second name is what protocol 2 writes for it.
    said = {
        "os.system": "(posix|nt).system",
        "builtins.exec": "(builtins|__builtin__).exec",
        "builtins.open": "(_io|io|__builtin__).open",
        "subprocess.run": "(subprocess|commands).run",
    }[name]
    with pytest.raises(BackendError, match=f"asks to run {said}, which no checkpoint needs; it is"):
        read_checkpoint(path)
    assert not trace.exists()
    result = torch.load(path, weights_only=False)["bomb"]
    if hasattr(result, "close"):
        result.close()
    assert trace.exists(), "the bomb is a dud"


def test_an_unknown_function_is_not_called(tmp_path):
    called = []
    module = types.ModuleType("unheard_of")
    module.__dict__["gadget"] = gadget = lambda *args: called.append(args)
    gadget.__module__, gadget.__qualname__ = "unheard_of", "gadget"
    sys.modules["unheard_of"] = module
    try:
        path = save([Calls(gadget, 1), torch.ones(1)], tmp_path / "file.pth")
        stand_in, tensor = read_checkpoint(path)
    finally:
        del sys.modules["unheard_of"]
    assert not called
    assert repr(stand_in) == "<unheard_of.gadget>"
    assert torch.equal(tensor, torch.ones(1))


def test_tensors_that_claim_more_than_their_storage_are_refused(tmp_path):
    storage = torch.storage.TypedStorage(
        wrap_storage=torch.ones(4).untyped_storage(), dtype=torch.float, _internal=True
    )
    bomb = Calls(torch._utils._rebuild_tensor_v2, storage, 0, (1 << 20,), (1,), False, {})
    with pytest.raises(BackendError, match="got a damaged or truncated file"):
        read_checkpoint(save(bomb, tmp_path / "file.pth"))


@pytest.mark.parametrize(
    ("code", "text"),
    [("O8", "damaged"), ("V16", "damaged"), ("f8", "damaged")],
    ids=["objects", "structures", "too few bytes"],
)
def test_crafted_numpy_scalars_are_refused(tmp_path, code, text):
    crafted = Calls(np._core.multiarray.scalar, Calls(np.dtype, code, False, True), b"xx")
    with pytest.raises(BackendError, match=text):
        read_checkpoint(save(crafted, tmp_path / "file.pth"))


@FORMATS
@pytest.mark.parametrize("keep", [0.02, 0.5, 0.97])
def test_truncated(tmp_path, zipped, keep):
    path = save({"weight": torch.ones(500)}, tmp_path / "file.pth", zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(BackendError, match=r"file\.pth must be a torch checkpoint, got a"):
        read_checkpoint(path)


def test_other_files(tmp_path):
    path = tmp_path / "file.pth"
    with pytest.raises(BackendError, match="a checkpoint file is needed, found nothing at"):
        read_checkpoint(path)
    path.write_bytes(b"<html>")
    with pytest.raises(BackendError, match="got a file that begins with b'<html>'; get the file"):
        read_checkpoint(path)
    with zipfile.ZipFile(path, "w") as program:
        program.writestr("net/constants.pkl", b"")
    with pytest.raises(BackendError, match="got a TorchScript program; save its state dict"):
        read_checkpoint(path)


def test_entries_and_prefixes(tmp_path):
    path = tmp_path / "file.pth"
    content = {"state_dict": {"module.a": torch.ones(2).half(), "module.n": torch.tensor(1),
                              "b": torch.ones(1), "module.lr": 0.1}}  # fmt: skip
    state = entry(content, "state_dict", path)
    picked = tensors(state, path, prefix="module.")
    assert {key: value.dtype for key, value in picked.items()} == {
        "a": torch.float32,
        "n": torch.int64,
    }
    assert take(picked, "a", path).tolist() == [1, 1]
    with pytest.raises(BackendError, match="with an entry 'model', got state_dict"):
        entry(content, "model", path)
    with pytest.raises(BackendError, match="with an entry 'model', got list"):
        entry([], "model", path)
    with pytest.raises(BackendError, match="must hold a dict of tensors, got a Tensor"):
        tensors(torch.ones(1), path)
    with pytest.raises(BackendError, match=r"tensors with names 'net\.\*', got module.a, module.n"):
        tensors(state, path, prefix="net.")
    with pytest.raises(BackendError, match="lacks the tensor c, got a, n"):
        take(picked, "c", path)


def test_filling_a_network(tmp_path, caplog):
    path = tmp_path / "file.pth"
    state = torch.nn.BatchNorm1d(3).state_dict()
    with torch.device("meta"):
        module = torch.nn.BatchNorm1d(3)
    old = {key: value for key, value in state.items() if key != "num_batches_tracked"}
    extra = {"head.weight": torch.ones(1), "strange": torch.ones(1)}
    assert not fill(module, old | extra, path, ignored=("head.",)).training
    assert "1 tensors not used: strange" in caplog.text
    assert torch.equal(module.running_var, torch.ones(3))
    with pytest.raises(
        BackendError, match="lacks 2 of 5 tensors: running_mean, running_var; it is a checkpoint of"
    ):
        fill(module, {key: state[key] for key in ("weight", "bias")}, path)
    with pytest.raises(
        BackendError, match=r"weight must be \(3,\), got \(4,\); it is a checkpoint"
    ):
        fill(module, dict(state, weight=torch.ones(4)), path)
    names = torch.nn.ModuleList(torch.nn.Linear(1, 1, bias=False) for _ in range(25))
    with pytest.raises(BackendError, match="and 5 more; it is"):
        fill(names, {"a": torch.ones(1)}, path)


def test_storages_that_are_shared_stay_shared(tmp_path):
    base = torch.arange(6.0)
    path = save({"all": base, "part": base[2:4], "again": base.view(2, 3)}, tmp_path / "a.pth")
    read = read_checkpoint(path)
    read["all"][2] = 9
    assert read["part"].tolist() == [9, 3]
    assert read["again"].tolist() == [[0, 1, 9], [3, 4, 5]]


def test_every_kind_of_number(tmp_path):
    kinds = (torch.float64, torch.bfloat16, torch.int16, torch.uint8, torch.bool, torch.uint16)
    content = {str(kind): torch.ones(3).to(kind) for kind in (*kinds, torch.complex64)}
    content["kind"] = torch.int8
    content["tuned"] = torch.nn.Parameter(torch.ones(1))
    content["tuned"].note = "x"
    read = read_checkpoint(save(content, tmp_path / "a.pth"))
    assert read["kind"] is torch.int8
    assert all(torch.equal(read[str(kind)], content[str(kind)]) for kind in kinds)
    assert torch.equal(read["tuned"], torch.ones(1))


class Refers:
    """Makes a pickle that refers to a storage in a way of its own."""

    def __init__(self, *reference):
        self.reference = reference


def pickled(content):
    buffer = io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return value.reference if isinstance(value, Refers) else None

    Pickler(buffer, protocol=2).dump(content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "reference",
    [
        (),
        ("storage", 3, "0", "cpu", 1),
        ("other", torch.float32, "0", "cpu", 1),
        ("storage", torch.float32, 0, "cpu", 1),
        ("storage", torch.float32, "0", "cpu", -1),
        ("storage", torch.float32, "0", "cpu", 1 << 40),
        ("storage", torch.float32, "7", "cpu", 1),
    ],
)
def test_references_to_nothing(tmp_path, reference):
    path = rewrite_pickle(tmp_path / "a.pth", pickled(Refers(*reference)))
    with pytest.raises(BackendError, match="got a damaged or truncated file"):
        read_checkpoint(path)


def test_few_bytes_do_not_become_terabytes(tmp_path):
    for content in (
        torch.ones(1).expand(1 << 20),
        Calls(bytearray, 1 << 45),
        Calls(bytes, 1 << 45),
        Calls(torch._utils._rebuild_tensor_v2, 3, 0, (1,), (1,), False, {}),
    ):
        with pytest.raises(BackendError, match="got a damaged or truncated file"):
            read_checkpoint(save([content], tmp_path / "a.pth"))
    assert read_checkpoint(save([bytearray(b"\x00\xff")], tmp_path / "a.pth")) == [b"\x00\xff"]


def test_functions_of_the_reader_cannot_be_changed(tmp_path):
    path = rewrite_pickle(
        tmp_path / "a.pth",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb.",
    )
    with pytest.raises(BackendError, match="got a damaged or truncated file"):
        read_checkpoint(path)


def test_streams_of_another_version_or_cut_in_their_numbers(tmp_path):
    path = save({"a": torch.ones(50)}, tmp_path / "a.pth", zipped=False)
    good = path.read_bytes()
    for bad in (
        good.replace(b"M\xe9\x03.", b"M\xea\x03.", 1),
        good.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"),
        good[:-30],
        good.replace(b"K2", b"M\xff\xff", 1),
    ):
        assert bad != good
        path.write_bytes(bad)
        with pytest.raises(BackendError, match="got a damaged or truncated file"):
            read_checkpoint(path)


def test_modules_with_their_source_code_stand_in(tmp_path):
    path = rewrite_pickle(tmp_path / "a.pth", pickled({"m": Refers("module", "M", "f.py", "code")}))
    assert read_checkpoint(path) == {"m": "M"}


HUGE = b"r" + struct.pack("<I", 1 << 30)
"""Store under a number so large that an unpickler makes room of eight gigabytes."""


def test_a_memory_that_a_file_could_not_fill_is_refused(tmp_path):
    zipped = rewrite_pickle(tmp_path / "a.pth", b"\x80\x02]" + HUGE + b".")
    stream = save({"a": torch.arange(3.0)}, tmp_path / "b.pth", zipped=False)
    data = stream.read_bytes()
    at = data.index(b"q\x00", 60)
    stream.write_bytes(data[:at] + HUGE + data[at + 2 :])
    for path in (zipped, stream):
        before = peak_mb(reset=True)
        with pytest.raises(BackendError, match="got a damaged or truncated file"):
            read_checkpoint(path)
        assert peak_mb() - before < 100


@pytest.mark.filterwarnings("error")
def test_odd_escapes_in_a_damaged_file_warn_nobody(tmp_path):
    path = rewrite_pickle(tmp_path / "a.pth", b"\x80\x02S'\\\xc3\xa4'\n.")
    with pytest.raises(BackendError, match="got a damaged or truncated file"):
        read_checkpoint(path)
