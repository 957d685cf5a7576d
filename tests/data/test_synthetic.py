import torch

from msff.data.synthetic import synthetic_batch


def test_a_synthetic_batch_of_one_hand_marks_the_other_as_absent():
    both, one = (synthetic_batch(3, 32, "cpu", torch.Generator().manual_seed(0), hands) for hands in (2, 1))
    assert both.joint_valid.all() and both.side_present.all() and both.relative_root_valid.all()
    assert one.side_present.tolist() == [[1, 0], [0, 1], [1, 0]] and not one.relative_root_valid.any()
    assert one.joint_valid.sum(1).tolist() == [21] * 3 and one.joint_valid[1, 21:].all()
    assert torch.equal(one.joint_visible, one.joint_valid) and torch.equal(one.image, both.image)
