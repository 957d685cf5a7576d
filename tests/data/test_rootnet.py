"""RootNet's published outputs: both depth forms, lookup by annotation, and what is refused."""

import json
from dataclasses import FrozenInstanceError

import pytest
from make_official import write_interhand, write_rhd, write_rhd_json

from msff.data.interhand import read_interhand
from msff.data.rhd_json import read_rhd_json
from msff.data.rootnet import find_rootnet, read_rootnet
from msff.data.sample import DataError

ENTRY = '{"annot_id": 1, "bbox": [1, 2, 3, 4], "abs_depth": 5}'


def write(root, name, entries):
    path = root / "rootnet_output" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(entries))
    return path


def test_two_depths_of_interhand(tmp_path):
    write_interhand(tmp_path, "test", frames=3)
    entries = [{"annot_id": i, "bbox": [i, 2, 30, 30], "abs_depth": [900.0 + i, 800]} for i in (1005, 1000, 1002, 1004)]
    write(tmp_path, "rootnet_interhand2.6m_output_test.json", entries)
    output = read_rootnet(find_rootnet(tmp_path, "interhand", "test"))
    samples = read_interhand(tmp_path, "test")
    box, depths = output.of(samples[5])
    assert box.tolist() == [1005, 2, 30, 30] and depths == {"right": 1905.0, "left": 800.0}
    assert output.of(samples[0])[1] == {"right": 1900.0} and output.of(samples[2])[1] == {"left": 800.0}
    with pytest.raises(DataError, match=r"no entry for annotation 1001 \(Capture0/ROM01/cam400263/image100\)"):
        output.of(samples[1])
    with pytest.raises((FrozenInstanceError, ValueError)):
        output.square_box[0] = 1


def test_one_depth_of_rhd(tmp_path):
    write_rhd_json(tmp_path, write_rhd(tmp_path, "evaluation", 2))
    entries = [{"annot_id": 10 + i, "bbox": [1, 2, 30, 30], "abs_depth": 600.5 + i} for i in range(2)]
    write(tmp_path, "rootnet_rhd_output.json", entries)
    output = read_rootnet(find_rootnet(tmp_path, "rhd", "evaluation"))
    right, left = read_rhd_json(tmp_path, "evaluation")
    assert output.of(right)[1] == {"right": 600.5} and output.of(left)[1] == {"left": 601.5}


def test_names_of_both_versions_and_what_was_not_published(tmp_path):
    with pytest.raises(DataError, match=r"rootnet_output: expected rootnet_interhand2\.6m_output_val\.json or"):
        find_rootnet(tmp_path, "interhand", "val")
    old = write(tmp_path, "rootnet_interhand2.6m_output_machine_annot_val.json", [])
    assert find_rootnet(tmp_path, "interhand", "val") == old
    with pytest.raises(DataError, match="not published for train of interhand"):
        find_rootnet(tmp_path, "interhand", "train")


@pytest.mark.parametrize(
    "text, message",
    [
        ("[", "not a whole JSON file"),
        ("[]", "no entry"),
        ("{}", "not RootNet's output"),
        ('[{"annot_id": 1, "bbox": [1, 2, 3, 4]}]', "not RootNet's output: .*abs_depth"),
        (f"[{ENTRY}, {ENTRY}]", "annotation 1 occurs twice"),
    ],
)  # fmt: skip
def test_files_that_are_no_rootnet_output(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_rootnet(path)
    with pytest.raises(DataError, match="expected RootNet's output, found nothing"):
        read_rootnet(tmp_path / "gone.json")
