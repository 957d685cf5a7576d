"""Test-time inputs of the tracks, the single-hand methods and the papers' protocols."""

from dataclasses import asdict, replace

import pytest

from msff.evaluation.tracks import PAPER_PROTOCOLS, TRACK_NAMES, TRACKS, single_hand_inputs
from msff.report.published import TABLE1


def from_truth(inputs):
    """Names of the quantities taken from the annotation."""
    return tuple(name for name, source in asdict(inputs).items() if source.startswith("true"))


def test_the_tracks_name_what_they_take_from_the_annotation():
    assert from_truth(TRACKS["T1"]) == ("crop", "intrinsics", "root_depth", "side_slot")
    assert from_truth(TRACKS["T2"]) == ("crop", "intrinsics", "side_slot")
    assert TRACK_NAMES == ("T0", "T1", "T2")


def test_the_inputs_of_a_single_hand_method():
    first, second = (single_hand_inputs(t, needs_handedness=True, needs_scale=True, per_hand_box=True) for t in TRACKS)
    assert from_truth(first) == ("crop", "scale", "side_input", "side_slot")
    assert from_truth(second) == ("crop", "side_slot") and first.crop == second.crop == "true box per hand"
    assert (second.scale, second.side_input, second.root_depth) == ("training mean", "predicted", "none")
    for track, depth in (("T1", "true"), ("T2", "network")):
        plain = single_hand_inputs(
            track, needs_handedness=False, needs_scale=False, per_hand_box=False, root_depth=depth
        )
        assert plain == replace(TRACKS[track], root_depth=depth)
    found = single_hand_inputs("T2", needs_handedness=True, needs_scale=True, per_hand_box=False, crop="found")
    assert from_truth(found) == ("side_slot",)
    with pytest.raises(ValueError, match="T1, T2, got 'T0'"):
        single_hand_inputs("T0", needs_handedness=True, needs_scale=True, per_hand_box=False)


def test_unknown_sources_are_refused():
    known = "root_depth must be one of true, box, network, own, none, unknown, got 'guess'"
    with pytest.raises(ValueError, match=known):
        replace(TRACKS["T1"], root_depth="guess")


def test_the_papers_protocols_agree_with_the_marks_of_table_1():
    assert set(PAPER_PROTOCOLS) == {row.method for row in TABLE1}
    for row in TABLE1:
        given = PAPER_PROTOCOLS[row.method].inputs
        if given.scale != "unknown":
            assert (given.scale == "true bone", given.side_input == "true") == (row.gt_scale, row.gt_side), row.label
