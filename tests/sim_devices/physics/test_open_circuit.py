import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_devices.physics.open_circuit import MATERIALS, open_circuit

INSERTION = ("nmc", "graphite", "licoo2", "li-rich", "li-v-s", "si")


def test_the_table_of_the_fit_of_chen_2020():
    # Ends of the LG M50 cell of the paper: 4.2 V at (0.2661, 0.9014), 2.5 V at (0.9084, 0.0279), within the
    # 5 mV that the generic fall adds.
    nmc, graphite = open_circuit("nmc"), open_circuit("graphite")
    assert nmc.potential_V(0.2661) - graphite.potential_V(0.9014) == pytest.approx(4.2, abs=0.01)
    assert nmc.potential_V(0.9084) - graphite.potential_V(0.0279) == pytest.approx(2.5, abs=0.03)


def test_the_potential_is_the_published_formula_within_the_generic_fall():
    x = np.linspace(0.27, 0.90, 200)
    formula = (
        -0.8090 * x
        + 4.4875
        - 0.0428 * np.tanh(18.5138 * (x - 0.5542))
        - 17.7326 * np.tanh(15.7890 * (x - 0.3117))
        + 17.5842 * np.tanh(15.9308 * (x - 0.3120))
    )
    assert open_circuit("nmc").curve_V(x) == pytest.approx(formula, abs=2.6e-3)


def test_lithium_cobalt_oxide_and_silicon_where_they_are_known_to_be():
    assert open_circuit("licoo2").potential_V(0.5) == pytest.approx(4.2, abs=0.05)  # the usual limit
    assert open_circuit("licoo2").potential_V(0.85) == pytest.approx(3.9, abs=0.05)  # the plateau
    silicon = open_circuit("si").curve_V(np.array([0.1, 0.5, 0.9]))
    assert np.all((silicon > 0.1) & (silicon < 0.6))


def test_metals_are_flat():
    assert open_circuit("in-li").potential_V(0.3) == 0.62
    assert open_circuit("li").at(0.9) == (0.0, 0.0)


@pytest.mark.parametrize("material", INSERTION)
def test_it_falls_strictly_and_ends_at_both_ends(material):
    potential = open_circuit(material)
    x = np.linspace(-0.1, 1.1, 5001)
    volts = potential.curve_V(x)
    assert np.all(np.diff(volts) < 0.0)
    assert potential.potential_V(-0.02) > 10.0  # lithium that is not there cannot be taken out
    assert potential.potential_V(1.02) < -10.0


@pytest.mark.parametrize("material", INSERTION)
@given(x=st.floats(-0.1, 1.1))
def test_the_slope_is_that_of_the_potential(material, x):
    potential = open_circuit(material)
    step = 1e-6
    slope_V = (potential.potential_V(x + step) - potential.potential_V(x - step)) / (2 * step)
    assert potential.at(x)[1] == pytest.approx(slope_V, rel=2e-2, abs=2e-3)


@pytest.mark.parametrize("material", INSERTION)
@given(x=st.floats(0.0, 1.0))
def test_content_inverts_the_potential(material, x):
    potential = open_circuit(material)
    assert potential.content(potential.potential_V(x)) == pytest.approx(x, abs=1e-7)


def test_a_potential_that_never_is_and_a_material_that_is_not():
    with pytest.raises(ValueError, match="nmc never has"):
        open_circuit("nmc").content(1e4)
    with pytest.raises(ValueError, match="there are nmc, graphite"):
        open_circuit("unobtainium")
    assert all(open_circuit(material).name == material for material in MATERIALS)
