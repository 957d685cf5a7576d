"""Intervals: determinism, pairing, coverage, seeds."""

import math

import pytest
import torch

from msff.evaluation.bootstrap import bootstrap_means, estimate, estimate_difference
from msff.evaluation.joint_errors import AVERAGES, JointErrors, area_under_pck, auc, within


def errors(values, valid=None):
    values = torch.as_tensor(values, dtype=torch.float64)
    return JointErrors(values, torch.ones(values.shape, dtype=torch.bool) if valid is None else valid)


def noise(seed, shape=(200, 3), mean=10.0):
    return errors(mean + torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


def test_two_images_by_hand():
    # With images of 0 and 6 mm a resample holds 0, 1 or 2 of the second: means 0, 3, 6 with chances 1/4, 1/2, 1/4.
    means = bootstrap_means(errors([[0.0], [6.0]]), replicates=4000)
    shares = [(means == v).double().mean().item() for v in (0, 3, 6)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_joints_that_drop_out_of_a_resample_leave_its_mean():
    valid = torch.tensor([[True, False], [True, True]])
    means = bootstrap_means(errors([[2.0, 0.0], [2.0, 8.0]], valid), replicates=500)
    assert set(means.tolist()) == {2.0, 5.0}  # without the second image only joint A is left


def in_clusters(values, cluster):
    return errors(values).clustered_by(torch.tensor(cluster))


def test_images_of_a_cluster_are_drawn_together():
    """As the two images by hand, each from two cameras; drawn singly, other means would be possible."""
    means = bootstrap_means(in_clusters([[0.0], [6.0], [0.0], [6.0]], [0, 1, 0, 1]), replicates=4000)
    shares = [(means == v).double().mean().item() for v in (0, 3, 6)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_one_cluster_has_no_interval():
    alone = in_clusters([[2.0], [4.0]], [0, 0])
    for number in (estimate([alone]), estimate_difference([alone], [in_clusters([[9.0], [9.0]], [0, 0])])):
        assert math.isnan(number.low) and math.isnan(number.high)
    assert estimate([alone]).value == 3


def test_a_subset_keeps_the_clusters():
    whole = in_clusters([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [1, 0, 1])
    derived = (whole.joints([1]), whole.where(torch.tensor([True, False, True])), within(whole, 2.0),
               area_under_pck(whole))  # fmt: skip
    for values in derived:
        assert values.cluster.tolist() == [1, 0, 1] and values.clusters == 2


def test_same_seed_same_interval_other_seed_another():
    a = noise(0)
    assert estimate([a]) == estimate([a])
    assert not torch.equal(bootstrap_means(a, seed=1), bootstrap_means(a))


def test_interval_has_the_width_of_the_standard_error():
    # 200 images, 3 joints of independent unit noise: s.e. = 1 / sqrt(600) = 0.0408, 95 % is 3.92 of them.
    e = estimate([noise(1)])
    assert e.high - e.low == pytest.approx(3.92 / 600**0.5, rel=0.15)
    assert e.low < e.value < e.high and e.samples == 200


def test_an_interval_leaves_2_5_percent_of_the_resamples_at_either_end():
    e, means = estimate([noise(1)]), bootstrap_means(noise(1))
    below, above = ((means < e.low).double().mean().item(), (means > e.high).double().mean().item())
    assert (below, above) == pytest.approx((0.025, 0.025), abs=1 / len(means))


def test_the_difference_is_paired():
    # Large image-to-image spread, constant gain of 0.5 mm: only pairing can see it.
    hard = torch.linspace(5, 95, 100, dtype=torch.float64)[:, None]
    ours, theirs = errors(hard), errors(hard + 0.5)
    d = estimate_difference([ours], [theirs])
    assert (d.value, d.low, d.high) == pytest.approx((-0.5, -0.5, -0.5))
    assert estimate([ours]).high > estimate([theirs]).low  # the two intervals overlap all the same


def test_a_metric_over_seeds_is_their_mean_and_each_resample_has_the_same_images_of_all():
    one, two = errors([[2.0], [4.0]]), errors([[4.0], [2.0]])
    e = estimate([one, two])
    assert (e.value, e.low, e.high) == (3, 3, 3)  # the seeds' errors of an image add up to 6
    one, two = errors([[2.0], [4.0]]), errors([[4.0], [8.0]])
    e = estimate([one, two])
    assert e.value == pytest.approx(4.5) and e.per_seed == (3.0, 6.0) and e.seeds == 2


def resampled(e, average, replicates=60, seed=20231016):
    """The same by repeating the rows of each resample: slow, plain."""
    generator = torch.Generator().manual_seed(seed)
    out = []
    for start in range(0, replicates, 50):
        for row in torch.randint(len(e.valid), (min(50, replicates - start), len(e.valid)), generator=generator):
            value = AVERAGES[average](JointErrors(e.value[row], e.valid[row]))
            out.append(float("nan") if value is None else value)
    return out


@pytest.mark.parametrize("average", AVERAGES)
def test_every_average_equals_that_of_the_repeated_rows(average):
    generator = torch.Generator().manual_seed(5)
    e = errors(torch.rand(7, 3, generator=generator).mul(9).round(), torch.rand(7, 3, generator=generator) < 0.6)
    means = bootstrap_means(e, average=average, replicates=60)
    assert means.tolist() == pytest.approx(resampled(e, average), nan_ok=True)


def test_averages_of_unevenly_valid_joints_have_their_own_interval():
    valid = torch.tensor([[True, True], [True, False], [True, False]])
    e = errors([[1.0, 10.0], [2.0, 0.0], [3.0, 0.0]], valid)
    assert estimate([e]).value == pytest.approx((2 + 10) / 2)
    assert estimate([e], average="pooled").value == pytest.approx(16 / 4)
    assert estimate([e], average="joint medians").value == pytest.approx((2 + 10) / 2)
    d = estimate_difference([e], [e], average=("pooled", "joint means"))
    assert d.value == pytest.approx(4 - 6) and d.per_seed == (d.value,)


def test_a_median_over_seeds_is_the_mean_of_their_medians():
    one, two = errors([[1.0], [2.0], [9.0]]), errors([[9.0], [4.0], [1.0]])
    e = estimate([one, two], average="pooled median")
    assert e.value == pytest.approx((2 + 4) / 2) and e.per_seed == (2, 4)  # the median of the mean errors would be 5


def test_shares_have_intervals_too():
    e = estimate([within(noise(0), 10.0)])
    assert 0.4 < e.low < e.value < e.high < 0.6
    area = estimate([area_under_pck(noise(0))])
    assert area.value == pytest.approx(auc(noise(0))) and area.low < area.value < area.high


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="different samples"):
        estimate([errors([[1.0]]), errors([[1.0], [2.0]])])
    with pytest.raises(ValueError, match="same samples"):
        estimate_difference([errors([[1.0]])], [errors([[1.0], [2.0]])])
    with pytest.raises(ValueError, match="same clusters"):
        estimate_difference([in_clusters([[1.0], [2.0]], [0, 1])], [errors([[1.0], [2.0]])])
    with pytest.raises(ValueError, match="one for each of 2 samples"):
        in_clusters([[1.0], [2.0]], [0])
    with pytest.raises(ValueError, match="no seed"):
        estimate([])


def test_an_empty_subset_has_no_interval():
    nothing = errors([[1.0]], torch.tensor([[False]]))
    assert estimate([nothing]) is None and estimate_difference([nothing], [nothing]) is None
