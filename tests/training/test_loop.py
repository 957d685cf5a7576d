import pytest
import torch

from msff.models.building import build
from msff.settings.losses import LossConfig
from msff.settings.networks import BackboneConfig, NetworkConfig, VolumeSpec
from msff.settings.training import AugmentConfig, TrainingConfig
from msff.training import loop
from msff.training.checkpoint import load_checkpoint
from msff.training.loop import Phase, TrainingError, fit
from msff.training.objectives.heatmap import HandObjective

NETWORK = NetworkConfig(
    crop_size=64, bins=16, backbone=BackboneConfig(block="basic", width=16, blocks=(1, 1, 1, 1)),
    pyramid_channels=32, deconv_channels=32, head_hidden=32,
)  # fmt: skip
OBJECTIVE = HandObjective(VolumeSpec(bins=16, crop_size=64, sigma_bin=0.625), LossConfig("integral"))


def config(**changes):
    values = {"batch_size": 4, "epochs": 2, "learning_rate": 3e-3, "augment": None}
    return TrainingConfig(**values | changes)


def phases(objective=OBJECTIVE, **changes):
    return (Phase("all", objective, config(**changes)),)


@pytest.mark.parametrize("method", ["msff", "internet"])
def test_training_lowers_the_loss(dataset, method):
    torch.manual_seed(0)
    history = fit(build(method, "full", NETWORK), dataset, phases(epochs=15), seed=0)
    assert history.loss_volume.iloc[-1] < 0.9 * history.loss_volume.iloc[0]
    assert (history.images_per_s > 0).all()


def test_the_same_seed_gives_the_same_history(dataset):
    losses = []
    for seed in (0, 0, 1):
        torch.manual_seed(0)
        losses.append(fit(build("internet", "full", NETWORK), dataset, phases(), seed=seed).loss.tolist())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] != pytest.approx(losses[2], rel=1e-5)


def test_a_loss_that_is_not_finite_stops_training(dataset):
    model = build("internet", "full", NETWORK)
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    with pytest.raises(TrainingError, match="the loss is nan in epoch 1, step 1: lower learning_rate"):
        fit(model, dataset, phases(), seed=0)


def test_any_objective_will_do(dataset):
    """A network of one number, pulled to the mean width of the boxes by a loss of its own."""

    def objective(model, batch):
        gap = (model.weight[0, 0] - batch.box[:, 2]).square().mean()
        return {"total": gap, "bias": model.bias.square().sum()}

    model = torch.nn.Linear(1, 1)
    history = fit(model, dataset, phases(objective, epochs=40, learning_rate=5.0, decay_epochs=(20, 30)), seed=0)
    assert list(history) == ["phase", "epoch", "loss", "loss_bias", "images_per_s", "seconds", "lr"]
    widths = [sample.box[2] for sample in dataset.samples]
    assert model.weight.item() == pytest.approx(sum(widths) / len(widths), rel=0.1)


class TwoNumbers(torch.nn.Module):
    """Two children of one weight each; what either is pulled to depends on the boxes of a batch."""

    def __init__(self):
        super().__init__()
        self.width, self.height = (torch.nn.Linear(1, 1, bias=False) for _ in range(2))

    def pulled(self, batch):
        gap = self.width.weight[0, 0] - batch.box[:, 2], self.height.weight[0, 0] - batch.box[:, 3]
        return {"total": sum(g.square().mean() for g in gap)}


def two_phases():
    return (
        Phase("one", TwoNumbers.pulled, config(epochs=3, learning_rate=5.0, decay_epochs=(2,)), ("width",)),
        Phase("two", TwoNumbers.pulled, config(epochs=4, learning_rate=2.0, optimizer="rmsprop"), ("height",)),
    )


def test_order_and_crops_depend_on_seed_and_epoch(dataset):
    def drawn(seed):
        seen = []

        def objective(model, batch):
            assert model.training
            seen.append((batch.index.tolist(), batch.affine.flatten().tolist()))
            return model.pulled(batch)

        fit(TwoNumbers(), dataset, phases(objective, augment=AugmentConfig()), seed=seed)
        return seen

    first = drawn(seed=0)  # 2 epochs of 2 batches
    assert first == drawn(seed=0)
    for other in (first[2:], drawn(seed=1)[:2]):
        assert all(a != b for a, b in zip(first[0], other[0], strict=True))


def test_a_step_uses_the_gradient_of_its_own_batch_alone(dataset):
    """The gradient of |w - x|^2 at w, so that plain descent by half of it ends each step at the batch's mean."""
    model, batches = TwoNumbers(), dataset.in_order(4)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for batch in batches:
        loop.train_step(model, optimizer, batch, TwoNumbers.pulled, rate=0.5)
        assert model.width.weight.item() == pytest.approx(batch.box[:, 2].mean().item(), rel=1e-5)


def test_each_phase_teaches_its_own_modules_with_its_own_schedule(dataset):
    torch.manual_seed(0)
    model = TwoNumbers()
    start = model.height.weight.item()
    fit(model, dataset, two_phases()[:1], seed=0)
    width = model.width.weight.item()
    assert model.height.weight.item() == start and abs(width) > 5
    torch.manual_seed(0)
    model = TwoNumbers()
    history = fit(model, dataset, two_phases(), seed=0)
    assert model.width.weight.item() == width and abs(model.height.weight.item() - start) > 2
    assert history.phase.tolist() == ["one"] * 3 + ["two"] * 4
    assert history.epoch.tolist() == list(range(1, 8))
    assert history.lr.tolist() == [5.0, 5.0, 0.5, 2.0, 2.0, 2.0, 2.0]
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("killed_after", [1, 3, 5])
def test_a_training_killed_in_any_phase_goes_on_as_if_nothing_had_happened(dataset, tmp_path, killed_after):
    def train(path, stop=None):
        torch.manual_seed(0)
        model = TwoNumbers()

        def progress(epoch, epochs, step, steps, loss):
            if stop is not None and epoch > stop:
                raise KeyboardInterrupt

        return model, fit(model, dataset, two_phases(), seed=0, checkpoint=path, config_hash="a", progress=progress)

    whole, history = train(tmp_path / "whole.pt")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts.pt", stop=killed_after)
    assert load_checkpoint(tmp_path / "parts.pt")["epoch"] == killed_after
    parts, resumed = train(tmp_path / "parts.pt")
    assert resumed.loss.tolist() == history.loss.tolist()
    for name, value in whole.state_dict().items():
        assert torch.equal(parts.state_dict()[name], value)


def test_a_training_keeps_its_uid_over_a_resume(dataset, tmp_path):
    def train(epochs, path):
        return fit(TwoNumbers(), dataset, phases(TwoNumbers.pulled, epochs=epochs), seed=0, checkpoint=path)

    first = train(1, tmp_path / "parts.pt").attrs["uid"]
    assert load_checkpoint(tmp_path / "parts.pt")["uid"] == first
    assert train(2, tmp_path / "parts.pt").attrs["uid"] == load_checkpoint(tmp_path / "parts.pt")["uid"] == first
    assert train(2, tmp_path / "parts.pt").attrs["uid"] == first  # nothing is left to train
    assert train(1, tmp_path / "other.pt").attrs["uid"] != first


def test_rate_by_hand():
    schedule = TrainingConfig(learning_rate=1.0, decay_epochs=(2, 3), warmup_steps=4)
    assert [schedule.rate(0, step) for step in (0, 1, 3, 9)] == pytest.approx([0.25, 0.5, 1.0, 1.0])
    assert [schedule.rate(epoch, 99) for epoch in (1, 2, 3)] == pytest.approx([1.0, 0.1, 0.01])
