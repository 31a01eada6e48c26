"""What every device, plan and screen of a solid-state-battery laboratory stands on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssblab.session import open_session

__all__ = ["open_session"]


def __getattr__(name: str) -> Any:
    """Import the session when it is asked for: it brings bluesky, which `--help` can do without."""
    if name == "open_session":
        from ssblab.session import open_session

        return open_session
    raise AttributeError(f"module 'ssblab' has no attribute {name!r}")
