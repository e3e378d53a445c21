"""Pictures of numbers: their text is legible."""

import pytest

from gaaf_keras.analysis import figures, paired_difference


@pytest.mark.parametrize("name", ["a", "a network with a name that is rather long"])
def test_all_text_of_differences_is_inside_of_the_picture(name):
    found = paired_difference([0.983, 0.984, 0.981], [0.980, 0.982, 0.980])
    label = "difference in test accuracy, % points"
    figure = figures.draw_differences({name: found}, "Each at its best", label)
    figure.canvas.draw()
    (axes,) = figure.axes
    for text in (axes.xaxis.label, *axes.get_yticklabels()):
        extent = text.get_window_extent()
        assert extent.x0 >= 0, text
        assert extent.x1 <= figure.bbox.width, text


def test_the_same_difference_in_all_pairs_has_no_bar():
    found = paired_difference([0.983, 0.983, 0.983], [0.980, 0.980, 0.980])
    figure = figures.draw_differences({"a": found}, "", "")
    _, mark = figure.axes[0].lines  # after the line at 0
    assert mark.get_marker() == "o"


def test_colours_say_what_is_better():
    up = paired_difference([0.983, 0.984, 0.981], [0.90, 0.91, 0.90])
    down = paired_difference([0.90, 0.91, 0.90], [0.983, 0.984, 0.981])

    def colours(**given):
        figure = figures.draw_differences({"a": up, "b": down}, "", "", **given)
        return [
            line.get_color()
            for line in figure.axes[0].lines
            if line.get_marker() == "o"
        ]

    better, worse = colours()
    assert better != worse
    assert colours(higher_is_better=False) == [worse, better]
