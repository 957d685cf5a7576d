from msff.models.building import build
from msff.settings.training import SpeedConfig
from msff.study.profiles import get_profile
from msff.training.loop import Phase
from msff.training.objectives.heatmap import HandObjective
from msff.training.probe import probed_rate


def test_the_probe_measures_the_speed_of_a_phase():
    smoke = get_profile("smoke")
    phase = Phase("all", HandObjective(smoke.volume, smoke.loss), smoke.training)
    network = build("msff", "full", smoke.network)
    assert probed_rate(network, phase, smoke.network.crop_size, "cpu", SpeedConfig(), seconds=0.1) > 0
