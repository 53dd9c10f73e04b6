"""The data stream: the same whatever shares it, wherever it starts again."""

import pytest
import torch

from ired_interp.random import stream
from ired_interp.tasks import Inverse, TaskData, training_stream
from ired_interp.tasks.data import EvaluationSet
from ired_interp.tasks.training_stream import TrainingStream

CPU = torch.device("cpu")


@pytest.fixture(params=[False, True], ids=["drawn when due", "begun at the one before"])
def data(request, monkeypatch):
    """Where a GPU is, the next batch is begun while one is trained on."""
    monkeypatch.setattr(training_stream, "capturable", lambda device: request.param)
    return TaskData(Inverse(3), batch_size=12, seed=4)


def stream_of(data, length=6, part=0, parts=1):
    return TrainingStream(lambda i: data.training_batch(i, CPU, part, parts), CPU, length)


def test_ranks_share_the_batch_of_one_process(data):
    whole = list(stream_of(data))
    for parts in (2, 3):
        shares = [list(stream_of(data, part=part, parts=parts)) for part in range(parts)]
        for index, batch in enumerate(whole):
            for part in range(parts):
                share = shares[part][index]
                assert torch.equal(share.x, batch.x[part::parts])
                assert torch.equal(share.share(batch.y), share.y)


@pytest.mark.parametrize("condition_number", [None, 50.0])
def test_a_share_of_inverses_is_drawn_as_the_whole_but_inverted_alone(
    condition_number, monkeypatch
):
    """Equal to rounding: libraries may multiply few matrices in another order than many."""
    task = Inverse(4, condition_number)
    whole, alone = stream("cpu", 0), stream("cpu", 0)
    x, y = task.sample(9, whole)
    inverted, answer = [], Inverse._answer
    monkeypatch.setattr(
        Inverse, "_answer", staticmethod(lambda s: inverted.append(len(s)) or answer(s))
    )
    for part in range(2):
        share = task.sample_share(9, alone, "same", part, 2)
        torch.testing.assert_close(share.x, x[part::2])
        torch.testing.assert_close(share.y, y[part::2], rtol=1e-4, atol=1e-5)
        assert torch.equal(alone.get_state(), whole.get_state())
        alone = stream("cpu", 0)
    assert inverted == [5, 4]


def test_resumed_stream_goes_on_where_it_stopped(data):
    first = stream_of(data)
    batches = iter(first)
    for _ in range(4):
        next(batches)
    resumed = stream_of(data)
    resumed.load_state_dict(first.state_dict())
    rest = list(resumed)
    assert [batch.number for batch in rest] == [4, 5]
    for mine, other in zip(rest, list(stream_of(data))[4:], strict=True):
        assert torch.equal(mine.x, other.x)


def test_batches_differ_and_depend_on_the_seed(data):
    first, second = list(stream_of(data, 2))
    assert not torch.equal(first.x, second.x)
    other = next(iter(stream_of(TaskData(Inverse(3), batch_size=12, seed=5))))
    assert not torch.equal(first.x, other.x)


def test_evaluation_sets_do_not_depend_on_the_seed(data):
    def rows(data, **parts):
        return [b.x for b in EvaluationSet(data, "test", "same", 4100, CPU, **parts)]

    mine, other = rows(data), rows(TaskData(Inverse(3), seed=9))
    assert [len(x) for x in mine] == [2000, 2000, 100]
    assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))
    for part in range(3):
        for share, whole in zip(rows(data, part=part, parts=3), mine, strict=True):
            assert torch.equal(share, whole[part::3])
    assert not torch.equal(
        mine[0], next(iter(EvaluationSet(data, "validation", "same", 2000, CPU))).x
    )
