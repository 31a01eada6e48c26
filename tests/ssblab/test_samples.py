import json
import math

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssblab.quantities import BadInput
from ssblab.samples import (
    ATOMIC_WEIGHTS,
    CellSample,
    ElectrolyteSample,
    Sample,
    known_fields,
    parse_formula,
)

RECORD = {
    "name": "argyrodite-7.A_1",
    "formula": "Li5.4PS4.4Cl1.6",
    "mass_g": 0.2,
    "thickness_mm": 0.8,
    "diameter_mm": 10.0,
    "pressure_MPa": 20.0,
}


def make(**changes):
    return ElectrolyteSample(**(RECORD | changes))


@pytest.mark.parametrize(
    ("formula", "atoms"),
    [
        ("Li5.4PS4.4Cl1.6", {"Li": 5.4, "P": 1, "S": 4.4, "Cl": 1.6}),
        ("Li3PS4", {"Li": 3, "P": 1, "S": 4}),
        ("(Li3PS4)0.7(LiI)0.3", {"Li": 2.4, "P": 0.7, "S": 2.8, "I": 0.3}),
        ("(Li2S)3(P2S5)", {"Li": 6, "S": 8, "P": 2}),
        ("Li7La3Zr2O12", {"Li": 7, "La": 3, "Zr": 2, "O": 12}),
        ("LiLi", {"Li": 2}),
    ],
)
def test_atoms_of_a_formula(formula, atoms):
    assert parse_formula(formula) == pytest.approx(atoms)


@pytest.mark.parametrize(
    "formula",
    ["", "Xx2", "li3PS4", "Li3 PS4", "Li3PS4-LiI", "Li-1", "Li0", "(Li2S", "Li2S)", "()", "Li1.", "7"],
)
def test_what_is_not_a_formula_is_refused(formula):
    with pytest.raises(BadInput, match="formula"):
        parse_formula(formula)


@given(st.text())
def test_arbitrary_text_is_a_formula_or_bad_input(text):
    try:
        assert parse_formula(text)
    except BadInput:
        pass


@given(st.dictionaries(st.sampled_from(sorted(ATOMIC_WEIGHTS)), st.integers(1, 99), min_size=1))
def test_a_formula_that_is_written_reads_back(atoms):
    assert parse_formula("".join(f"{element}{count}" for element, count in atoms.items())) == atoms


@pytest.mark.parametrize(
    ("formula", "molar_mass"),
    # As printed in the literature, to its digits.
    [
        ("Li6PS5Cl", 268.4),
        ("Li3PS4", 180.03),
        ("LiI", 133.84),
        ("Li2S", 45.95),
        ("H2O", 18.015),
        ("H2S", 34.08),
    ],
)
def test_molar_masses_are_the_published_ones(formula, molar_mass):
    assert make(formula=formula).molar_mass_g_mol == pytest.approx(molar_mass, rel=3e-4)


def test_geometry_and_sulfur():
    sample = make(diameter_uncertainty_mm=0.1)
    assert sample.area_cm2 == pytest.approx(math.pi * 0.25)
    assert sample.area_uncertainty_cm2 == pytest.approx(0.02 * sample.area_cm2)
    assert make().area_uncertainty_cm2 is None
    assert sample.molar_mass_g_mol == pytest.approx(266.234)
    assert sample.sulfur_mol_per_g == pytest.approx(4.4 / 266.234)
    assert make(formula="Li7La3Zr2O12").sulfur_mol_per_g == 0


def test_metadata_goes_into_a_start_document():
    metadata = make(lot_id="L1").metadata()
    assert json.loads(json.dumps(metadata, allow_nan=False)) == metadata
    assert metadata["lot_id"] == "L1"
    assert "note" not in metadata
    own = {key: metadata[key] for key in ElectrolyteSample.model_fields if key in metadata}
    assert ElectrolyteSample(**own) == make(lot_id="L1")


@pytest.mark.parametrize(
    "field", ["mass_g", "thickness_mm", "diameter_mm", "pressure_MPa", "mass_uncertainty_g"]
)
@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf, "0.2 g", True])
def test_measures_are_positive_finite_numbers(field, bad):
    with pytest.raises(pydantic.ValidationError):
        make(**{field: bad})


@pytest.mark.parametrize("name", ["", "a b", "ü", "x" * 81, "a/b", "a\n"])
def test_names_are_plain(name):
    with pytest.raises(pydantic.ValidationError):
        make(name=name)


def test_a_record_does_not_change():
    with pytest.raises(pydantic.ValidationError):
        make().mass_g = 1.0


CELL = {
    "kind": "cell", "name": "ncm-in-li-01", "capacity_mAh": 8.0, "area_cm2": 4.0, "voltage_min_V": 2.0,
    "voltage_max_V": 4.0, "current_max_mA": 50.0, "charge_means": "delithiation", "reference": "In-Li",
    "reference_V_vs_Li": 0.62,
}  # fmt: skip


def test_a_record_of_a_cell():
    cell = CellSample(**CELL)
    metadata = cell.metadata()
    assert json.loads(json.dumps(metadata, allow_nan=False)) == metadata == CELL


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"voltage_max_V": 2.0}, "voltage_max_V = 2 must be above voltage_min_V = 2"),
        ({"reference": None}, "go together: name the electrode, and its potential vs Li/Li"),
        ({"reference_V_vs_Li": None}, "go together"),
        ({"charge_means": "up"}, "'delithiation' or 'lithiation'"),
        ({"capacity_mAh": 0.0}, "greater than 0"),
        ({"voltage_min_V": -math.inf}, "finite"),
        ({"mass_g": 1.0}, "Extra inputs"),
    ],
)
def test_a_record_of_a_cell_fits_together(changes, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        CellSample(**{**CELL, **changes})


@pytest.mark.parametrize(("record", "kind"), [(RECORD, ElectrolyteSample), (CELL, CellSample)])
def test_a_record_that_names_no_kind_is_of_an_electrolyte(record, kind):
    read = pydantic.TypeAdapter(Sample).validate_python(record)
    assert type(read) is kind
    assert pydantic.TypeAdapter(Sample).validate_python(read) == read
    assert known_fields(record) == ", ".join(kind.model_fields)
