import math
from types import SimpleNamespace

import pytest

from devices.alicat import Alicat
from plans.moisture_figures import MoistureRun


@pytest.mark.parametrize(
    ("said", "accuracy"), [({"flow_relative_accuracy": 0.01}, 0.01), ({}, Alicat.relative_accuracy)]
)
def test_the_accuracy_of_the_flow_is_that_of_the_start_document(said, accuracy):
    run = MoistureRun(SimpleNamespace(start={"sample": {}, **said}))
    assert run.flow_relative_uncertainty == pytest.approx(accuracy / math.sqrt(3))
