"""Which parts of a film hang together; the images that stand wrong alone are tested with pycolmap in test_bev_sfm."""

from bev.sfm_recheck import joined_part


def film_of(*stretches: tuple[int, int], seen: int = 60, step: int = 20) -> dict[int, set[int]]:
    """Images 1, 2, ... that each see `seen` points, `step` further than the one before; one stretch after the other.

    Args:
        stretches: how many images, and the first point that the first of them sees.
        seen: points per image.
        step: new points per image.
    """
    points: dict[int, set[int]] = {}
    for count, first in stretches:
        for i in range(count):
            points[len(points) + 1] = set(range(first + i * step, first + i * step + seen))
    return points


def kept(points: dict[int, set[int]]) -> list[int]:
    return sorted(joined_part(sorted(points), points))


def test_a_film_that_hangs_together_stays_whole():
    points = film_of((30, 0))
    assert kept(points) == list(range(1, 31))


def test_what_no_point_joins_to_the_rest_goes():
    assert kept(film_of((10, 0), (20, 10_000))) == list(range(11, 31))


def test_a_handful_of_points_by_chance_joins_nothing():
    points = film_of((20, 0), (10, 10_000))
    for image in range(21, 31):
        points[image] |= {0, 100, 200}
    assert kept(points) == list(range(1, 21))


def test_a_film_that_comes_back_after_a_gap_stays_whole():
    # the second stretch begins elsewhere in what the first one saw: nothing near in time, but much in all
    assert kept(film_of((40, 0), (10, 200))) == list(range(1, 51))


def test_a_part_that_a_repeated_pattern_laid_over_another_goes():
    # 5 % of its points are taken for those of the first part
    points = film_of((40, 0), (20, 10_000))
    repeated = dict(zip(range(10_000, 10_022), range(200, 222), strict=True))
    for image in range(41, 61):
        points[image] = {repeated.get(point, point) for point in points[image]}
    assert kept(points) == list(range(1, 41))


def test_an_image_that_few_points_join_to_its_neighbours_but_many_to_the_film_stays():
    points = film_of((30, 0))
    points[15] = set(range(0, 10)) | set(range(100, 110)) | set(range(500, 540))
    assert kept(points) == list(range(1, 31))


def test_nothing_placed_is_nothing_kept():
    assert kept({}) == []
