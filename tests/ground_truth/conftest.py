"""What the tests of the source documents' relations say they found."""

import pytest


class Truth:
    """Takes down what a test found, for docs/ground-truth.md."""

    def __init__(self, node):
        self._node = node

    def gives(self, what):
        """Say what the simulated laboratory gives, with numbers and units, before it is asserted."""
        self._node.user_properties.append(("gives", what))


@pytest.fixture
def truth(request):
    return Truth(request.node)
