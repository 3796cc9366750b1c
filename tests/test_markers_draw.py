from itertools import combinations

import cv2
import numpy as np
import pytest

from markers.draw import DIGIT_HEIGHT_PX, DOT_RADIUS_PX, draw_markers, id_color, label_size_px, leader_line
from markers.instance import Marker

H, W = 120, 160


def marker(id, x0=40, y0=30, uv=None, digit_height_px=DIGIT_HEIGHT_PX):
    """A marker whose plate begins at x0, y0; its anchor is under the plate unless given."""
    w, h = label_size_px(id, digit_height_px)
    return Marker(id, uv or (x0 + w // 2 + 0.5, y0 + h // 2 + 0.5), (x0, y0, x0 + w, y0 + h), 100)


def plate(image, marker):
    x0, y0, x1, y1 = (int(edge) for edge in marker.label_box)
    return image[y0:y1, x0:x1]


def plain(value):
    return np.full((H, W, 3), value, np.uint8)


BACKGROUNDS = {
    "black": plain(0),
    "white": plain(255),
    "grey": plain(128),
    "the plate's own colour": plain(16),
    "noise": np.random.default_rng(0).integers(0, 256, (H, W, 3)).astype(np.uint8),
}


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("digit_height_px", [10, 14, 20])
def test_digits_stand_out_alike_on_any_background(background, digit_height_px):
    one = marker(58, digit_height_px=digit_height_px)
    drawn = plate(draw_markers(BACKGROUNDS[background], [one], digit_height_px=digit_height_px), one)
    inside = drawn[1:-1, 1:-1].astype(int)
    assert np.ptp(inside, axis=2).max() == 0, "white on near-black, nothing of the background"
    ink = inside[..., 0]
    assert ink.min() <= 20 and ink.max() >= 250
    assert 0.1 < (ink > 128).mean() < 0.5
    on_black = plate(draw_markers(plain(0), [one], digit_height_px=digit_height_px), one)
    assert (drawn == on_black).all()


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_the_plate_stands_out_on_any_background(background):
    image = BACKGROUNDS[background]
    one = marker(7)
    drawn = plate(draw_markers(image, [one]), one).astype(int)
    was = plate(image, one).astype(int)
    border, below = drawn[0].mean(axis=0), drawn[1, 1:-1].mean(axis=0)
    # a bright border around a dark plate: at least one of the two differs strongly from whatever is behind
    assert max(np.abs(border - was[0].mean(axis=0)).max(), np.abs(below - was[1, 1:-1].mean(axis=0)).max()) > 100


@pytest.mark.parametrize("digit_height_px", [8, 12, 14, 17, 24])
def test_digits_are_as_high_as_asked_for(digit_height_px):
    for id in range(10):
        one = marker(id, digit_height_px=digit_height_px)
        ink = plate(draw_markers(plain(0), [one], digit_height_px=digit_height_px), one)[1:-1, 1:-1, 0] > 60
        rows = np.flatnonzero(ink.any(axis=1))
        assert abs(rows[-1] - rows[0] + 1 - digit_height_px) <= 1
        columns = np.flatnonzero(ink.any(axis=0))
        assert columns[0] >= 1 and columns[-1] < ink.shape[1] - 1, "no digit touches the border"


def glyph(digit, digit_height_px):
    one = marker(digit, digit_height_px=digit_height_px)
    return plate(draw_markers(plain(0), [one], digit_height_px=digit_height_px), one)[1:-1, 1:-1, 0].astype(float)


@pytest.mark.parametrize("digit_height_px", [10, 14])
def test_no_two_digits_look_alike(digit_height_px):
    for a, b in combinations(range(10), 2):
        first, second = glyph(a, digit_height_px).ravel(), glyph(b, digit_height_px).ravel()
        # 5 and 6 share all strokes but one, which leaves 0.92; what is blurred or cut off comes nearer to 1
        assert np.corrcoef(first, second)[0, 1] < 0.94, (a, b)


@pytest.mark.parametrize("id", [0, 1, 7, 10, 27, 69, 123, 4810])
def test_the_plate_reads_as_the_number(id):
    one = marker(id, 20, 20)
    drawn = plate(draw_markers(BACKGROUNDS["noise"], [one]), one)[1:-1, 1:-1, 0].astype(np.float32)
    templates = [glyph(digit, DIGIT_HEIGHT_PX).astype(np.float32) for digit in range(10)]
    width = label_size_px(11, DIGIT_HEIGHT_PX)[0] - label_size_px(1, DIGIT_HEIGHT_PX)[0]
    padding = (templates[0].shape[1] - width) // 2
    read = ""
    for left in range(padding, drawn.shape[1] - padding, width):
        cell = drawn[:, left : left + width]
        fits = [np.corrcoef(cell.ravel(), each[:, padding : padding + width].ravel())[0, 1] for each in templates]
        assert max(fits) > 0.99
        read += str(int(np.argmax(fits)))
    assert read == str(id)


def test_digits_are_not_mirrored():
    seven, four = glyph(7, 20), glyph(4, 20)
    half = seven.shape[1] // 2
    assert seven[-6:, :half].sum() > seven[-6:, -half:].sum(), "the foot of a 7 is left of its middle"
    assert four[:, -half:].sum() > four[:, :half].sum(), "the stem of a 4 is on the right"


def test_only_plates_lines_and_dots_change_the_image():
    image = BACKGROUNDS["noise"]
    markers = [marker(3, 10, 10), marker(12, 60, 40, uv=(130.5, 100.5)), marker(140, 110, 5, uv=(100.5, 25.5))]
    drawn = draw_markers(image, markers)
    allowed = np.zeros((H, W), np.uint8)
    for each in markers:
        x0, y0, x1, y1 = (int(edge) for edge in each.label_box)
        allowed[y0:y1, x0:x1] = 1
        line = leader_line(each.uv, each.label_box)
        if line:
            ends = [tuple(int(value) for value in end) for end in line]
            cv2.line(allowed, *ends, 1, 5)
            cv2.circle(allowed, ends[0], DOT_RADIUS_PX, 1, -1)
    changed = (drawn != image).any(axis=2)
    assert not (changed & (allowed == 0)).any()
    for each in markers[1:]:
        u, v = (int(value) for value in each.uv)
        assert tuple(drawn[v, u]) == id_color(each.id), "the dot is on the anchor"


def test_a_leader_line_reaches_from_the_anchor_to_the_plate():
    one = marker(12, 60, 40, uv=(20.5, 100.5))
    drawn = draw_markers(plain(128), [one])
    (u, v), end = leader_line(one.uv, one.label_box)
    assert (u, v) == one.uv
    for share in np.linspace(0, 0.95, 40):
        x, y = int(u + share * (end[0] - u)), int(v + share * (end[1] - v))
        assert (drawn[y - 1 : y + 2, x - 1 : x + 2] == id_color(12)).all(axis=2).any()


def test_a_plate_on_its_anchor_has_no_line():
    one = marker(12)
    assert leader_line(one.uv, one.label_box) is None


def test_a_plate_covers_the_lines_of_others():
    line_under = marker(5, 10, 50, uv=(140.5, 60.5))
    above = marker(88, 70, 50)
    drawn = draw_markers(plain(90), [above, line_under])
    assert (plate(drawn, above) == plate(draw_markers(plain(90), [above]), above)).all()


def test_an_id_has_one_colour_in_all_views_and_its_neighbours_have_others():
    first = draw_markers(BACKGROUNDS["noise"], [marker(23, 10, 10)])
    second = draw_markers(np.zeros((300, 400, 3), np.uint8), [marker(4, 5, 5), marker(23, 250, 200)])
    assert tuple(first[10, 10]) == tuple(second[200, 250]) == id_color(23)
    colors = [id_color(id) for id in range(19)]
    for a, b in combinations(colors, 2):
        assert np.abs(np.subtract(a, b)).sum() > 25
    # bright on the dark plate: relative luminance against the plate's at least 4.5 to 1 (WCAG 2)
    for color in colors:
        linear = (np.array(color) / 255) ** 2.2
        assert (linear @ [0.2126, 0.7152, 0.0722] + 0.05) / ((16 / 255) ** 2.2 + 0.05) > 4.5


def test_the_colour_is_rgb():
    assert id_color(0) == (0xFF, 0xD6, 0x0A)
    assert tuple(draw_markers(plain(0), [marker(0, 10, 10)])[10, 10]) == (0xFF, 0xD6, 0x0A)


def test_the_image_given_is_left_alone():
    image = BACKGROUNDS["noise"].copy()
    drawn = draw_markers(image, [marker(3)])
    assert (image == BACKGROUNDS["noise"]).all() and (drawn != image).any()
    assert drawn.dtype == np.uint8 and drawn.shape == image.shape
    assert (draw_markers(image, []) == image).all()


@pytest.mark.parametrize(
    ("image", "arguments", "message"),
    [
        (np.zeros((H, W), np.uint8), {}, "image must be"),
        (np.zeros((H, W, 3), np.float32), {}, "image must be"),
        (plain(0), {"digit_height_px": 20}, "lay the labels out for this digit height"),
    ],
)
def test_what_does_not_fit_is_refused(image, arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_markers(image, [marker(3)], **arguments)


def test_plates_grow_with_digits_only():
    assert label_size_px(0, 14) == label_size_px(9, 14)
    assert label_size_px(10, 14) == label_size_px(99, 14)
    one, two, three = (label_size_px(id, 14) for id in (1, 10, 100))
    assert one[1] == two[1] == three[1]
    assert two[0] - one[0] == three[0] - two[0] > 0
