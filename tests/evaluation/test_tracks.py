"""Test-time inputs of the tracks, the single-hand methods and the papers' protocols."""

from dataclasses import asdict, replace

import pytest

from msff.evaluation.tracks import PAPER_PROTOCOLS, TRACK_NAMES, TRACKS
from msff.report.published import TABLE1


def from_truth(inputs):
    """Names of the quantities taken from the annotation."""
    return tuple(name for name, source in asdict(inputs).items() if source.startswith("true"))


def test_the_tracks_name_what_they_take_from_the_annotation():
    assert from_truth(TRACKS["T1"]) == ("crop", "intrinsics", "root_depth", "side_slot")
    assert from_truth(TRACKS["T2"]) == ("crop", "intrinsics", "side_slot")
    assert TRACK_NAMES == ("T0", "T1", "T2")


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
