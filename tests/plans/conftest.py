"""The laboratory in which plans for cells are tested."""

import pytest

from ssblab.session import open_session
from ssblab.station import load_station


@pytest.fixture(scope="session")
def cells_station():
    """The station `cells`; what surrounds a run is looked at each hour, for records of days cost time."""
    station = load_station("cells")
    return station.model_copy(
        update={"environment": station.environment.model_copy(update={"period": "1 h"})}
    )


@pytest.fixture(scope="module")
def session(cells_station, tmp_path_factory):
    """A session at the station `cells`, for all tests of a module."""
    with open_session(cells_station, data=tmp_path_factory.mktemp("cells")) as session:
        yield session
        session._filing.catch_up = lambda: True  # takes seconds, and no test looks any more
