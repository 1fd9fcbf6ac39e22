import re

import numpy as np
import pytest

from tests.strategies import write_prepared
from voxflate._system.errors import VoxflateError
from voxflate.data.channels import LabelColumn, Layout
from voxflate.data.labels import BINS, JointLabels, chosen_labels, joint_labels

LAYOUT = Layout(
    labels=(
        LabelColumn("sex", ("F", "M")),
        LabelColumn("age", low=20, high=80, mean=50, deviation=20),
    )
)
# Women are old, men are young.
SUBJECTS = [{"sex": "F", "age": 60 + i} for i in range(20)] + [{"sex": "M", "age": 21 + i} for i in range(10)]
JOINT = JointLabels.of(LAYOUT, SUBJECTS)


def test_labels_are_drawn_as_they_occur_together():
    drawn = JOINT.draw(3, 0, 600)
    assert 0.6 < np.mean([one["sex"] == "F" for one in drawn]) < 0.73
    assert all((one["sex"] == "F") == (one["age"] > 45) for one in drawn)
    ages = [one["age"] for one in drawn]
    assert len(set(ages)) > 100  # not only the remembered bins
    assert min(ages) >= 20
    assert max(ages) <= 80


def test_a_sample_s_labels_depend_on_its_seed_and_number_alone():
    many = JOINT.draw(3, 0, 8)
    assert JOINT.draw(3, 5, 3) == many[5:]
    assert JOINT.draw(4, 0, 8) != many
    np.testing.assert_array_equal(JOINT.vectors(3, 2, 2), LAYOUT.encode(many[2:4]))


def test_what_is_given_stays_and_the_rest_is_drawn_beside_it():
    men = JOINT.draw(0, 0, 50, {"sex": "M"})
    assert {one["sex"] for one in men} == {"M"}
    assert max(one["age"] for one in men) < 45
    assert [list(one) for one in men] == [["sex", "age"]] * 50  # the columns' order
    assert {one["age"] for one in JOINT.draw(0, 0, 50, {"age": 33.0})} == {33.0}
    nobody = JointLabels.of(LAYOUT, SUBJECTS[:20])
    assert {one["sex"] for one in nobody.draw(0, 0, 5, {"sex": "M"})} == {"M"}


def test_what_is_kept_names_nobody():
    """The order of the subjects is gone, and a number is known to a twentieth of the range only."""
    assert JOINT.rows == JointLabels.of(LAYOUT, SUBJECTS[::-1]).rows
    assert all(isinstance(age, int) and 0 <= age < BINS for _, age in JOINT.rows)
    assert JointLabels.from_json(LAYOUT, [list(row) for row in JOINT.rows]) == JOINT


@pytest.mark.parametrize(
    "rows", [None, [], [["F"]], [["X", 3]], [["F", 20]], [["F", 3.5]], [["F", -1]], "F", [7]]
)
def test_rows_that_do_not_fit_are_refused(rows):
    with pytest.raises(ValueError, match="do not fit its label columns"):
        JointLabels.from_json(LAYOUT, rows)


def test_a_set_of_equal_numbers_gives_that_number():
    layout = Layout(labels=(LabelColumn("age", low=40, high=40, mean=40),))
    assert JointLabels.of(layout, [{"age": 40}] * 3).draw(0, 0, 2) == [{"age": 40}] * 2


def test_labels_come_from_training_volumes_alone(tmp_path):
    prepared = write_prepared(tmp_path / "set", layout=LAYOUT)
    assert len(joint_labels(prepared).rows) == 10
    assert joint_labels(write_prepared(tmp_path / "plain")) is None


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"Sex": "F"}, "label Sex: the generator does not know it; it knows sex, age; did you mean sex?"),
        ({"SEX": "F"}, "label SEX: the generator does not know it; it knows sex, age; did you mean sex?"),
        ({"sex": "f"}, "label sex = f: the prepared set has F, M"),
        ({"age": "sixty"}, "label age = sixty: is not a number"),
    ],
)
def test_unknown_labels_are_refused_with_the_nearest(asked, message):
    with pytest.raises(VoxflateError, match=re.escape(message)):
        chosen_labels(JOINT, asked)
    with pytest.raises(VoxflateError, match="it knows no labels"):
        chosen_labels(None, asked)


def test_a_name_like_no_other_gets_no_suggestion():
    with pytest.raises(
        VoxflateError, match=r"label gender: the generator does not know it; it knows sex, age$"
    ):
        chosen_labels(JOINT, {"gender": "F"})


def test_an_unknown_class_is_refused_with_the_nearest():
    column = LabelColumn("diagnosis", ("control", "dementia"))
    with pytest.raises(VoxflateError, match="has control, dementia; did you mean dementia"):
        column.encode("dementa")


def test_a_number_outside_the_range_gets_a_warning():
    assert chosen_labels(JOINT, {"sex": "F", "age": "80"}) == ({"sex": "F", "age": 80.0}, [])
    given, (line,) = chosen_labels(JOINT, {"age": 81})
    assert given == {"age": 81.0}
    assert line.startswith("label age = 81: outside the training set's 20 to 80")


def test_a_class_that_no_training_volume_has_gets_a_warning():
    women = JointLabels.of(LAYOUT, SUBJECTS[:20])
    assert chosen_labels(women, {"sex": "F"}) == ({"sex": "F"}, [])
    given, (line,) = chosen_labels(women, {"sex": "M"})
    assert given == {"sex": "M"}
    assert line == "label sex = M: no training volume has it; the generator has learned nothing of it"
