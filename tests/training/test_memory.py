"""A step that runs out of memory is reported with a batch that fits; its checkpoint is kept."""

import pytest
import torch
from conftest import noise, train_tiny
from lrface import models
from lrface.errors import LrfaceError
from lrface.models import losses
from lrface.models.objective import Batch
from lrface.training import loop


class Hungry(losses.Pixelwise):
    """Out of memory with more than ``room`` faces, at ``where`` of a step, after ``well`` steps."""

    def __init__(self, room: int, where: str, well: int = 0):
        super().__init__("l1")
        self.room, self.where, self.left, self.sizes = room, where, well, []

    def check(self, size: int, where: str):
        if where == self.where and size > self.room and self.left < 0:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def forward(self, net: torch.nn.Module, batch: Batch):
        self.left -= 1
        size = len(batch.lr)
        self.sizes.append(size)
        self.check(size, "forward")
        losses = super().forward(net, batch)
        losses["loss"].register_hook(lambda gradient: self.check(size, "backward"))
        return losses


def run(objective, checkpoint, **changes):
    net = models.restorer("SRCNN", 4)
    fields = dict(steps=6, batch=12, patch=16, lr=1e-3) | changes
    fields |= dict(label="SRCNN-small 4x on noise")
    return train_tiny(net, noise(12, 32), "4x", objective, checkpoint, **fields)


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("room", [11, 6, 5, 2, 1])
def test_the_sentence_names_a_batch_that_fits(where, room, tmp_path):
    objective, fits = Hungry(room, where), max(n for n in (6, 3, 1) if n <= room)
    with pytest.raises(
        LrfaceError,
        match=f"^SRCNN-small 4x on noise: out of memory on .* with batch 12: batch {fits} fits$",
    ):
        run(objective, tmp_path / "last.pt")
    assert objective.sizes == [12] + [n for n in (6, 3, 1) if n >= fits]
    assert not list(tmp_path.iterdir())


def test_where_nothing_fits_the_sentence_says_so(tmp_path):
    what = "with batch 12, and with one face alone: choose a smaller patch or a smaller network$"
    with pytest.raises(LrfaceError, match=what):
        run(Hungry(0, "forward"), tmp_path / "last.pt")


def test_the_optimiser_s_own_memory_counts_too(tmp_path, monkeypatch):
    objective, step = Hungry(12, "never"), torch.optim.Adam.step

    def full(self, *arguments, **options):
        objective.room = 3
        objective.where = "step"
        objective.check(objective.sizes[-1], "step")
        return step(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.Adam, "step", full)
    with pytest.raises(LrfaceError, match="batch 3 fits$"):
        run(objective, tmp_path / "last.pt")


def test_what_was_trained_before_is_kept(tmp_path, monkeypatch):
    """With memory at hand again, the run ends with the weights of one that always had enough."""
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(loop, "SAVE_RATIO", 0)
    goes_on = Hungry(12, "never")

    def trained(objective, checkpoint):
        torch.manual_seed(0)
        return run(objective, checkpoint)[0].state_dict()

    whole = trained(Hungry(12, "never"), tmp_path / "a.pt")
    with pytest.raises(LrfaceError, match="batch 6 fits"):
        trained(Hungry(6, "forward", well=4), tmp_path / "b.pt")
    again = trained(goes_on, tmp_path / "b.pt")
    assert goes_on.sizes == [12, 12] and all(
        torch.equal(w, whole[name]) for name, w in again.items()
    )
