"""The restricted unpickler and the messages of broken files."""

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from msff.data.reading import (
    DataUnpickler,
    check_intrinsics,
    check_relative,
    compare_files,
    read_json,
    read_pickle,
    require_file,
    require_folder,
)
from msff.data.sample import DataError


class Attack:
    """Pickles as a call of print, which stands for any function."""

    def __reduce__(self):
        return print, ("code ran",)


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_of_arrays_numbers_and_containers_is_read(tmp_path, protocol):
    content = {
        np.int64(3): {
            "K": np.eye(3, dtype=np.float32),
            "xyz": np.arange(6.0).reshape(2, 3)[::-1],
            "n": np.float32(1.5),
        },
        4: [1, 2.5, "name", b"\x00\xff", (True, None), {7}, 3 + 4j],
    }
    path = tmp_path / "a.pickle"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    found = read_pickle(path, "a test", "nothing")
    assert found[4] == content[4]
    np.testing.assert_array_equal(found[3]["xyz"], [[3, 4, 5], [0, 1, 2]])
    assert found[3]["K"].dtype == np.float32 and found[3]["n"] == 1.5


def test_numpy_1_module_path_is_read():
    data = pickle.dumps(np.arange(3), protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    np.testing.assert_array_equal(DataUnpickler(io.BytesIO(data), Path("x")).load(), [0, 1, 2])


def test_python_2_array_is_read():
    """What Python 2 with numpy 1 wrote for array([1, 258], '<i2'): the buffer is a str of raw bytes."""
    data = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntcnumpy\ndtype\n(S'i2'\nI0\nI1\n"
        b"tR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x01\\x00\\x02\\x01'\ntb."
    )
    np.testing.assert_array_equal(DataUnpickler(io.BytesIO(data), Path("x")).load(), [1, 258])


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_in_a_pickle_is_refused_by_name_and_does_not_run(tmp_path, protocol, capsys):
    path = tmp_path / "anno.pickle"
    path.write_bytes(pickle.dumps({0: Attack()}, protocol=protocol))
    with pytest.raises(DataError, match=r"anno\.pickle: refused to load (builtins|__builtin__)\.print"):
        read_pickle(path, "annotations", "fetch it")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["eval", "exec", "getattr", "__import__", "open", "object"])
def test_builtins_that_act_are_refused(name):
    with pytest.raises(DataError, match=f"refused to load builtins.{name}"):
        DataUnpickler(io.BytesIO(f"cbuiltins\n{name}\n.".encode()), Path("x")).load()


@pytest.mark.parametrize("keep", [1, 10, 150])
def test_a_truncated_pickle_names_file_and_remedy(tmp_path, keep):
    path = tmp_path / "anno.pickle"
    path.write_bytes(pickle.dumps({i: np.arange(50) for i in range(9)})[:keep])
    with pytest.raises(DataError, match=r"anno\.pickle: not a whole pickle .* unpack that archive again"):
        read_pickle(path, "annotations", "fetch it")


@pytest.mark.parametrize("protocol", [0, 4])
def test_line_ends_that_a_transfer_changed_are_named(tmp_path, protocol):
    path = tmp_path / "anno.pickle"
    content = pickle.dumps({i: np.arange(50) for i in range(9)}, protocol=protocol)
    path.write_bytes(content.replace(b"\n", b"\r\n"))
    with pytest.raises(DataError, match=r"anno\.pickle: its line ends were changed to CR LF") as caught:
        read_pickle(path, "annotations", "fetch it")
    assert str(caught.value).isprintable()


def test_no_control_character_of_a_pickle_reaches_the_terminal():
    with pytest.raises(DataError, match="refused to load") as caught:
        DataUnpickler(io.BytesIO(b"cbuil\x1b[31m\rtins\neval\n."), Path("x")).load()
    assert str(caught.value).isprintable()


def test_truncated_and_wrong_json(tmp_path):
    path = tmp_path / "data.json"
    path.write_text(json.dumps({"images": list(range(99))})[:-20])
    with pytest.raises(DataError, match=r"data\.json: not a whole JSON file .*fetch"):
        read_json(path, "data", "fetch it")
    path.write_text("[1]")
    with pytest.raises(DataError, match=r"data\.json: expected a JSON object .*list"):
        read_json(path, "data", "fetch it")


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(DataError, match=r"gone\.json: expected the data, found nothing\. Fetch it"):
        read_json(tmp_path / "gone.json", "the data", "fetch it")
    (tmp_path / "empty").touch()
    with pytest.raises(DataError, match="empty: expected the data, found an empty file"):
        require_file(tmp_path / "empty", "the data", "fetch it")


def test_missing_folder_and_unfinished_folder(tmp_path):
    with pytest.raises(DataError, match=r"data: expected the folder of RHD, found nothing\. Unpack it"):
        require_folder(tmp_path / "data", "RHD", "unpack it")
    (tmp_path / "data.partial").mkdir()
    with pytest.raises(DataError, match=r"RHD is unfinished \(data\.partial is there\)"):
        require_folder(tmp_path / "data", "RHD", "make it again")


def test_files_are_compared_with_those_that_are_there(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").touch()
    wanted = ["a/1.png", "a/2.png", "b/1.png", "1.png"]
    (tmp_path / "a" / "3.png").touch()
    missing, surplus = compare_files(tmp_path, wanted)
    assert missing == wanted[1:] and sorted(surplus) == ["a", "a/3.png"]


@pytest.mark.parametrize(
    "k",
    [
        [[0, 0, 1], [0, 5, 1], [0, 0, 1]],
        [[5, 0, 1], [0, -5, 1], [0, 0, 1]],
        [[5, 0, 1], [0, 5, 1], [0, 0.1, 1]],
        [[5, 0, 1], [2, 5, 1], [0, 0, 1]],
        [[5, 0, np.nan], [0, 5, 1], [0, 0, 1]],
        [[5, 0], [0, 5]],
    ],
)
def test_a_camera_that_is_not_a_pinhole_is_refused(k):
    with pytest.raises(DataError, match="somewhere: "):
        check_intrinsics(np.array(k), "somewhere")


def test_a_pinhole_with_skew_passes():
    k = [[5, 0.1, 1], [0, 6, 2], [0, 0, 1]]
    np.testing.assert_array_equal(check_intrinsics(k, "somewhere"), k)


@pytest.mark.parametrize("name", ["", "/etc/hostname", "a/../../b.jpg", "a\\b.jpg", "a\0.jpg"])
def test_names_that_lead_out_of_the_dataset(name):
    with pytest.raises(DataError, match="somewhere: file name .* is empty, absolute or leads out of the dataset"):
        check_relative(name, "somewhere")


def test_files_that_may_not_be_read(tmp_path, monkeypatch):
    """Simulated: the superuser, as whom tests may run, is refused nothing."""
    path = tmp_path / "a"
    path.write_text("{}")

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", refuse)
        for read in (read_json, read_pickle):
            with pytest.raises(DataError, match=r"a: cannot be read \(Permission denied\); check its permissions"):
                read(path, "a test", "nothing")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_file", refuse)
        with pytest.raises(DataError, match=r"a: cannot be looked at \(Permission denied\)"):
            require_file(path, "a test", "nothing")


def test_links_in_a_circle(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for require in (require_file, require_folder):
        with pytest.raises(DataError, match="found a symbolic link that leads nowhere or in a circle"):
            require(tmp_path / "a", "a test", "nothing")
