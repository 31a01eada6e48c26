"""`python -m ssblab.documents DATA_DIR`: the follower's process; ends when all is written and filed."""

import argparse
import logging
import threading

from ssblab.documents.follower import Follower


def main(arguments: list[str] | None = None) -> int:
    """Run the follower of a data folder."""
    parser = argparse.ArgumentParser(prog="python -m ssblab.documents", description=main.__doc__)
    parser.add_argument("data_dir", help="the data folder")
    parser.add_argument("--catalog", metavar="URI", help="a Tiled server, not the catalog in the folder")
    parser.add_argument("--api-key-file", metavar="FILE", help="file with the server's API key, mode 0600")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with Follower(given.data_dir, given.catalog, api_key_file=given.api_key_file) as follower:
        follower.follow(threading.Event(), until_idle=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
