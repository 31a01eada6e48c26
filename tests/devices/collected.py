"""What a flyer has given, as a RunEngine would unpack it."""

from event_model import unpack_event_page


def events_of(flyer):
    """Events that wait in a flyer, with their times and data."""
    events = []
    for page in flyer.collect_pages():
        times = page["time"]
        rest = {"seq_num": times, "uid": times, "filled": {}, "descriptor": ""}
        events += unpack_event_page({**page, **rest})
    return events
