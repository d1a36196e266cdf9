"""What a network sees of a slice, by areas and scope."""

from __future__ import annotations

import pytest

from fibseg.filters.channels import SCOPES, Channels


def test_the_image_alone() -> None:
    channels = Channels()
    assert channels.count == 1
    assert channels.names == ["image"]
    assert channels.slice_areas == ()
    assert not channels.by_patch


def test_slices_are_filtered_as_a_whole_by_default() -> None:
    channels = Channels((650, 3200))
    assert channels.count == 3
    assert channels.names == ["image", "grain 650", "grain 3200"]
    assert channels.slice_areas == (650, 3200)
    assert not channels.by_patch


def test_patches_by_themselves_leave_the_slices_unfiltered() -> None:
    channels = Channels((650, 3200), "patch")
    assert channels.count == 3
    assert channels.names == Channels((650, 3200)).names
    assert channels.slice_areas == ()
    assert channels.by_patch


@pytest.mark.parametrize("scope", SCOPES)
def test_without_areas_the_scope_means_nothing(scope: str) -> None:
    channels = Channels((), scope)
    assert channels.count == 1
    assert not channels.by_patch
