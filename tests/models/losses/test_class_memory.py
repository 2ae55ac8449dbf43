"""The memories of CIRKD hold, replace and draw vectors of each class."""

import torch
import torch.nn.functional as F

from mmseg_bpkd.models.losses.class_memory import ClassMemory, class_embeddings
from mmseg_bpkd.models.losses.functional import class_maps


def entries(*values) -> tuple:
    """Vectors of one image with two classes, and whether each exists; nan marks one that does not."""
    vectors = torch.tensor(values)[None, :, :, None]
    return vectors.nan_to_num(), ~vectors[..., 0].isnan()


NONE = float('nan')


def test_a_full_memory_replaces_its_oldest_entries_and_absent_classes_keep_theirs():
    memory = ClassMemory(2, size=3, width=1)
    memory.add(*entries([1.0, 2.0], [NONE, 9.0]))
    memory.add(*entries([3.0, 4.0], [NONE, NONE]))
    assert memory.vectors[:, :, 0].tolist() == [[4, 2, 3], [9, 0, 0]] and memory.written.tolist() == [4, 1]
    memory.add(*entries([5.0, 6.0, 7.0, 8.0, 10.0], [NONE] * 5))  # more entries than the memory has places
    assert sorted(memory.vectors[0, :, 0].tolist()) == [7, 8, 10] and memory.written.tolist() == [9, 1]
    memory.add(*entries([11.0], [NONE]))
    assert sorted(memory.vectors[0, :, 0].tolist()) == [8, 10, 11]


def test_only_written_entries_are_drawn_and_each_at_most_once():
    memory = ClassMemory(2, size=8, width=1)
    assert memory.draw(4).shape == (0, 1)
    memory.add(*entries([1.0, 2.0, 3.0, 4.0, 5.0], [9.0, NONE, NONE, NONE, NONE]))
    for _ in range(20):
        drawn = memory.draw(4)[:, 0].tolist()
        assert len(drawn) == 5 and len(set(drawn)) == 5 and 9 in drawn and set(drawn) <= {1, 2, 3, 4, 5, 9}
    everything = torch.cat([memory.draw(4)[:4, 0] for _ in range(100)])
    assert set(everything.tolist()) == {1, 2, 3, 4, 5}  # a random subset each time


def test_the_given_number_of_pixels_per_class_is_drawn_or_all_if_there_are_fewer(given):
    maps = class_maps(given['gt'], 3, (4, 5))
    seen = torch.zeros(maps.shape[2])
    for _ in range(60):
        (vectors, exists), (_, has_mean) = class_embeddings(given['feats_T'], maps, 4)
        assert exists.sum(2).tolist() == maps.sum(2).clamp(max=4).tolist() and vectors.shape == (2, 3, 4, 6)
        assert torch.equal(has_mean[..., 0], maps.any(2))
        units = F.normalize(given['feats_T'][0].flatten(1), dim=0).t()
        drawn = (vectors[0, 1][:, None] == units).all(2).any(0)
        assert drawn.sum() == 4 and not (drawn & ~maps[0, 1]).any()
        seen += drawn
    assert (seen[maps[0, 1]] > 0).all()  # every pixel can be drawn
