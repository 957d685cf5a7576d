from msff.study.profiles import get_profile
from msff.study.speed import measured


def test_the_speed_of_a_training_is_measured_on_synthetic_images():
    rate, compiled = measured(get_profile("smoke"), "cpu", seconds=0.1)
    assert rate > 0 and not compiled
