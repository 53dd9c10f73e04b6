"""What is said of settings that work, but not well."""

import pytest

from ired_interp.trainer_settings import sharing_advice


def test_a_small_batch_on_several_gpus_is_said():
    assert "one GPU is likely to be about as fast as 2" in (sharing_advice("cuda", 2, 2048) or "")


@pytest.mark.parametrize("place", [("cuda", 1, 2048), ("cuda", 2, 16384), ("cpu", 2, 2048)])
def test_nothing_is_said_where_sharing_gains(place):
    assert sharing_advice(*place) is None
