"""The catalog: runs as databroker shows them, kept by Tiled. All of databroker and Tiled is in here."""

import copy
import functools
import json
import logging
import os
import re
import sqlite3
import stat
import warnings
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
from filelock import FileLock

if TYPE_CHECKING:
    import numpy
    import pyarrow
    import xarray
    from databroker.v1 import Broker

logger = logging.getLogger(__name__)

Document = dict[str, Any]

NETWORK_TIMEOUT_S = 5.0
"""Longest wait for one answer of a Tiled server, seconds."""

_PROVENANCE = "ssblab"
"""Key of a run's metadata beside `start` and `stop`: journal, byte offset in it, wall time of the start."""

_CATALOG_SPEC = {"name": "CatalogOfBlueskyRuns", "version": "3.0"}
_DOCUMENTS = "application/json-seq"
_CHUNK_LENGTH = 1 << 18
_SQLITE_BATCH_ROWS = "100000000"
_NOT_IN_SQL = re.compile(r"['\"`;\\%()=+]|--|/\*|\*/|[^\x20-\x7e]")
_LONGEST_COLUMN = 55


class CatalogError(RuntimeError):
    """The catalog cannot be opened, read or written; the message says which, and what to do."""


# ---------------------------------------------------------------------------------------- folders and keys


def data_folder(given: str | Path | None = None) -> Path:
    """Return the data folder, made with access for its owner alone if it does not exist.

    Parameters
    ----------
    given
        The folder asked for; else `$SSBLAB_DATA`; else the system's folder for user data.

    Raises
    ------
    CatalogError
        If the folder cannot be made.
    """
    folder = Path(given or os.environ.get("SSBLAB_DATA") or platformdirs.user_data_dir("ssblab")).expanduser()
    folder = folder.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise CatalogError(
            f"The data folder {folder} cannot be made ({error}): name another with --data or SSBLAB_DATA."
        ) from error
    return folder


def is_uri(where: str | Path | None) -> bool:
    """Tell whether `where` names a Tiled server rather than a data folder."""
    return isinstance(where, str) and "://" in where


def _api_key(key_file: str | Path | None) -> str | None:
    if key_file is None:
        return os.environ.get("SSBLAB_TILED_API_KEY")
    path = Path(key_file)
    try:
        mode = path.stat().st_mode
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"The API key file {path} cannot be read: {error}.") from error
    if os.name != "nt" and stat.S_IMODE(mode) & 0o077:
        raise CatalogError(f"Others can read the API key file {path}: chmod 600 {path}, and get a new key.")
    return key


# ------------------------------------------------------------------------------------- the embedded catalog


@contextmanager
def _quiet_dependencies() -> Iterator[None]:
    # Tiled starts with a deprecated test client of Starlette and a deprecated option of Alembic: neither is
    # anything that a user of ssblab could change.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*starlette.testclient.*")
        yield


def _ensure_catalog(folder: Path) -> None:
    try:
        (folder / "files").mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(folder / "create.lock", timeout=60):
            if not (folder / "storage.db").exists():
                _create_databases(folder)
            _follow_move(folder)
    except (OSError, sqlite3.Error) as error:
        raise CatalogError(f"The catalog in {folder} cannot be made or opened: {error}.") from error


def _create_databases(folder: Path) -> None:
    import asyncio

    from sqlalchemy.ext.asyncio import create_async_engine
    from tiled.alembic_utils import stamp_head
    from tiled.catalog.alembic_constants import ALEMBIC_DIR, ALEMBIC_INI_TEMPLATE_PATH
    from tiled.catalog.core import initialize_database

    uri = _sqlite_uri(folder / "catalog.db", "sqlite+aiosqlite")
    (folder / "catalog.db").unlink(missing_ok=True)

    async def create() -> None:
        engine = create_async_engine(uri)
        await initialize_database(engine)
        await engine.dispose()

    with _quiet_dependencies():
        # In a thread of its own: the caller's thread may run an event loop.
        _in_thread(lambda: asyncio.run(create()))
        stamp_head(ALEMBIC_INI_TEMPLATE_PATH, ALEMBIC_DIR, uri)
    for name in ("catalog.db", "storage.db"):
        _set_write_ahead(folder / name)


def _in_thread(action: Callable[[], None]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as executor:
        executor.submit(action).result()


def _sqlite_uri(path: Path, scheme: str = "sqlite") -> str:
    return f"{scheme}:///{path.as_posix()}"


def _set_write_ahead(path: Path) -> None:
    # Tiled issues this pragma inside a transaction, where SQLite ignores it; readers then block the writer.
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
    path.chmod(0o600)


def _follow_move(folder: Path) -> None:
    """Let a catalog that was moved or copied find its files again: Tiled keeps full paths."""
    note = folder / "location.json"
    here = folder.as_posix()
    there = json.loads(note.read_text(encoding="utf-8"))["folder"] if note.exists() else here
    if there != here:
        connection = sqlite3.connect(folder / "catalog.db")
        try:
            with connection:
                connection.execute(
                    "UPDATE assets SET data_uri = replace(data_uri, ?, ?)", (f"{there}/", f"{here}/")
                )
        finally:
            connection.close()
    if there != here or not note.exists():
        note.write_text(json.dumps({"folder": here}), encoding="utf-8")


@functools.cache
def _sql_adapter() -> type:
    """Return Tiled's SQL adapter, made to look at all rows of a SQLite column before it settles on a type.

    SQLite keeps NaN as NULL, and its driver takes a column that begins with 1024 of them for integers: the
    first number after that makes the whole table unreadable.
    """
    from tiled.adapters.sql import SQLAdapter

    class PatientStorage:
        def __init__(self, storage: Any) -> None:
            self._storage = storage

        def connect(self) -> Any:
            return PatientConnection(self._storage.connect())

        def __getattr__(self, name: str) -> Any:
            return getattr(self._storage, name)

    class PatientConnection:
        def __init__(self, connection: Any) -> None:
            self._connection = connection

        def cursor(self) -> Any:
            cursor = self._connection.cursor()
            cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": _SQLITE_BATCH_ROWS})
            return cursor

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

    class PatientSQLAdapter(SQLAdapter):
        storage: Any

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            if self.storage.dialect == "sqlite":
                self.storage = PatientStorage(self.storage)

    return PatientSQLAdapter


def embedded_tree(data: str | None = None, folder: str = "catalog") -> Any:
    """Return the catalog of a data folder as a tree for Tiled, in this process or in `tiled serve config`.

    Parameters
    ----------
    data
        The data folder; see `data_folder`.
    folder
        Name of the catalog's folder in it.
    """
    with _quiet_dependencies():
        from starlette import testclient  # noqa: F401  (its first import warns)
        from tiled.catalog import from_uri

    logging.getLogger("tiled.server.app").setLevel(logging.WARNING)
    path = data_folder(data) / folder
    _ensure_catalog(path)
    tree = from_uri(
        _sqlite_uri(path / "catalog.db"),
        writable_storage=[str(path / "files"), _sqlite_uri(path / "storage.db")],
        specs=[_CATALOG_SPEC],
        adapters_by_mimetype={"application/x-tiled-sql-table": _sql_adapter()},
    )
    return tree.new_variation(sorting=[(f"{_PROVENANCE}.started", 1)])


async def documents_exporter(
    mimetype: str, adapter: Any, metadata: Document, filter_for_access: Any
) -> AsyncIterator[str]:
    """Export a run as its documents, exactly as journalled; Tiled calls this for `application/json-seq`.

    Where the journal is not at hand, the documents are put together from the catalog.
    """
    from bluesky_tiled_plugins.exporters import json_seq_exporter

    from ssblab.documents.journal import run_documents

    path = _journal_of(adapter, metadata.get(_PROVENANCE, {}))
    if path is None:
        async for chunk in json_seq_exporter(mimetype, adapter, metadata, filter_for_access):
            yield chunk
        return
    chunk = ""
    for name, doc in run_documents(path, metadata["start"]["uid"], metadata[_PROVENANCE]["offset"]):
        chunk += "\x1e" + json.dumps({"name": name, "doc": doc}) + "\n"
        if len(chunk) > _CHUNK_LENGTH:
            yield chunk
            chunk = ""
    yield chunk


def _journal_of(adapter: Any, provenance: Document) -> Path | None:
    from tiled.utils import path_from_uri

    if "journal" not in provenance:
        return None
    for storage in adapter.context.writable_storage.values():
        if storage.uri.startswith("file:"):
            path = path_from_uri(storage.uri).parent.parent / "journals" / provenance["journal"]
            return path if path.exists() else None
    return None


# ------------------------------------------------------------------------------------------------- opening


def _client_of_folder(data_dir: Path, folder: str) -> Any:
    from tiled.client import from_context
    from tiled.client.context import Context
    from tiled.media_type_registration import default_serialization_registry
    from tiled.server.app import build_app

    registry = copy.deepcopy(default_serialization_registry)
    registry.register("BlueskyRun", _DOCUMENTS, documents_exporter)
    app = build_app(embedded_tree(str(data_dir), folder), serialization_registry=registry)
    return from_context(Context.from_app(app, show_progress=False))


def _client_of_uri(uri: str, key_file: str | Path | None) -> Any:
    import httpx
    import tiled.client.utils
    from tiled.client import from_context
    from tiled.client.context import Context

    if "TILED_RETRY_TIMEOUT" not in os.environ:
        tiled.client.utils.TILED_RETRY_TIMEOUT = 2 * NETWORK_TIMEOUT_S
        tiled.client.utils.TILED_RETRY_ATTEMPTS = 2
    key = _api_key(key_file)
    context = None
    try:
        httpx.get(uri, timeout=NETWORK_TIMEOUT_S)
        context, path = Context.from_any_uri(
            uri, api_key=key, timeout=httpx.Timeout(NETWORK_TIMEOUT_S), show_progress=False
        )
        client = from_context(context, node_path_parts=path)
    except Exception as error:
        if context is not None:
            context.close()
        raise CatalogError(
            f"The Tiled server {uri} does not open the catalog ({type(error).__name__}: {error}): is it "
            "running, is the address right, is its key in SSBLAB_TILED_API_KEY or in the key file?"
        ) from error
    if not getattr(client, "is_sql", False):
        context.close()
        raise CatalogError(f"{uri} is no catalog of runs: it lacks the spec {_CATALOG_SPEC}.")
    return client.sort((f"{_PROVENANCE}.started", 1))


def open_client(
    where: str | Path | None = None, api_key_file: str | Path | None = None, *, folder: str = "catalog"
) -> Any:
    """Open a catalog as a Tiled client; parameters and errors are those of `open_catalog`."""
    if is_uri(where):
        return _client_of_uri(str(where), api_key_file)
    data_dir = data_folder(where)
    try:
        return _client_of_folder(data_dir, folder)
    except CatalogError:
        raise
    except Exception as error:
        raise CatalogError(
            f"The catalog in {data_dir} does not open ({type(error).__name__}: {error}). Nothing is lost: "
            f"`ssblab.documents.rebuild` makes it anew from the journals."
        ) from error


def open_catalog(where: str | Path | None = None, *, api_key_file: str | Path | None = None) -> "Broker":
    """Open a catalog as databroker's users know it: `db[-1]`, `db[-1].table()`, `db(plan_name="count")`.

    Runs stand in the order in which they were started by the wall clock, whatever times they carry.
    Documents are plain dictionaries, as the plan emitted them.

    Parameters
    ----------
    where
        A data folder, or the URI of a Tiled server; by default the folder that `data_folder` gives.
    api_key_file
        For a server: a file with its API key, readable by its owner alone; else `$SSBLAB_TILED_API_KEY`.

    Returns
    -------
    databroker.v1.Broker

    Raises
    ------
    CatalogError
        If the folder or the server does not open.
    """
    return as_broker(open_client(where, api_key_file))


def as_broker(client: Any) -> "Broker":
    """Give an open catalog (`open_client`) as `open_catalog` does."""
    from databroker.v1 import Broker

    db = Broker(client)
    db.prepare_hook = lambda name, doc: _plain(doc)
    return db


def close_catalog(db: "Broker") -> None:
    """Close a catalog that `open_catalog` has opened: its threads, connections and files."""
    db.v2.context.close()


def register_profile(
    name: str = "ssblab", data: str | Path | None = None, *, folder: str | Path | None = None
) -> Path:
    """Make `databroker.catalog[name]` and `Broker.named(name)` open the catalog of a data folder.

    Parameters
    ----------
    name
        Name for databroker.
    data
        The data folder; by default the one that `data_folder` gives at the time of opening.
    folder
        Where Tiled looks for profiles; by default the user's.

    Returns
    -------
    Path
        The profile that was written.

    Raises
    ------
    CatalogError
        If the profile cannot be written.
    """
    import tiled.profiles

    target = Path(folder or tiled.profiles.paths[-1])
    path = target / f"{name}.yml"
    try:
        target.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({name: profile(data)}, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise CatalogError(f"The Tiled profile {path} cannot be written: {error}.") from error
    tiled.profiles.load_profiles.cache_clear()
    return path


def profile(data: str | Path | None = None) -> Document:
    """Return the Tiled profile that serves the catalog of a data folder in the client's own process."""
    tree: Document = {"path": "/", "tree": f"{__name__}:embedded_tree"}
    if data is not None:
        tree["args"] = {"data": str(data_folder(data))}
    return {
        "direct": {
            "trees": [tree],
            "media_types": {"BlueskyRun": {_DOCUMENTS: f"{__name__}:documents_exporter"}},
        }
    }


# ------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True)
class RunData:
    """A run in memory.

    Attributes
    ----------
    start, stop
        Its documents; `stop` is empty while the run is open.
    streams
        One dataset a stream along the dimension "time" (seconds since the epoch), units in `attrs["units"]`.
    """

    start: Document
    stop: Document
    streams: dict[str, "xarray.Dataset"] = field(default_factory=dict)


def run_data(run: Any) -> RunData:
    """Read a run, given as a databroker header (`db[-1]`) or a Tiled client, into memory.

    Raises
    ------
    CatalogError
        If the catalog cannot be read.
    """
    client = getattr(run, "v2", run)
    metadata = client.metadata
    try:
        streams = {name: _dataset(node) for name, node in stream_nodes(client)}
    except Exception as error:
        raise CatalogError(f"Run {metadata['start']['uid']} cannot be read: {error}.") from error
    return RunData(_plain(metadata["start"]), _plain(metadata.get("stop") or {}), streams)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def stream_nodes(run: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and container (not the composite view of it) of each stream of a run."""
    base = run.base
    for name in base:
        node = base[name]
        yield name, node.base if hasattr(node, "base") else node


def _dataset(stream: Any) -> "xarray.Dataset":
    described = stream.metadata["data_keys"]
    return dataset(stream_columns(stream), {key: of.get("units") or "" for key, of in described.items()})


def dataset(columns: dict[str, Any], units: Mapping[str, str]) -> "xarray.Dataset":
    """Make the dataset of a stream of its columns: `seq_num`, `time` and the data, as numpy arrays."""
    import numpy as np
    import xarray

    columns = dict(columns)
    # A run that is being filed may have more rows in one part than in another at the moment of reading.
    length = min((len(values) for values in columns.values()), default=0)
    times = np.asarray(columns.pop("time")[:length], dtype=float)
    variables: dict[str, Any] = {}
    coordinates = {
        "time": ("time", times, {"units": "s"}),
        "seq_num": ("time", columns.pop("seq_num")[:length]),
    }
    for name, values in columns.items():
        dims = ("time", *(f"{name}_{axis}" for axis, _ in enumerate(values.shape[1:])))
        variables[name] = (dims, values[:length], {"units": units.get(name, "")})
    return xarray.Dataset(variables, coordinates)


def stream_columns(stream: Any) -> dict[str, Any]:
    """Return the columns of a stream's container as numpy arrays: `seq_num`, `time` and the data."""
    columns: dict[str, Any] = {}
    for key, node in stream.items():
        if node.structure_family == "table":
            columns |= _table_columns(node.read())
        else:
            columns[key] = node.read()
    return columns


def _table_columns(table: Any) -> dict[str, Any]:
    columns = {name: table[name].to_numpy() for name in table.columns if not name.startswith("ts_")}
    return {name: values.astype(str) if _is_text(values) else values for name, values in columns.items()}


def _is_text(values: Any) -> bool:
    return values.dtype == object and all(isinstance(value, str) for value in values)


# ------------------------------------------------------------------------------------------------- writing


class RunWriter:
    """Files one run: container, streams, tables. Not shared between threads, one at a time for a catalog.

    Parameters
    ----------
    client
        The catalog, as `open_client` gives it.
    start
        The run's start document.
    provenance
        Where the run is journalled: `journal` (file name), `offset` (byte), `started` (UTC, ISO 8601).
    """

    def __init__(self, client: Any, start: Document, provenance: Document) -> None:
        from tiled.structures.core import Spec

        self._provenance = provenance
        self._streams: dict[str, _StreamWriter] = {}
        self._uid = start["uid"]
        self._run = client.create_container(
            key=self._uid,
            metadata={"start": _storable(start), _PROVENANCE: provenance},
            specs=[Spec("BlueskyRun", version="3.0")],
        )

    def descriptor(self, doc: Document) -> None:
        """File a descriptor: a new stream, or a stream's new configuration."""
        name = doc["name"]
        if name in self._streams:
            self._streams[name].reconfigure(doc)
        else:
            table_name = f"run_{self._uid.replace('-', '').lower()}_{len(self._streams)}"
            self._streams[name] = _StreamWriter(self._run, doc, table_name)

    def events(self, stream: str, events: list[Document]) -> None:
        """Append events to a stream, in one go."""
        self._streams[stream].append(events)

    def stop(self, doc: Document, **notes: object) -> None:
        """File the stop document: it marks the run as complete, so it comes last."""
        unfit = sum(stream.layout.unfit for stream in self._streams.values())
        provenance = {**self._provenance, **notes, **({"unfit_values": unfit} if unfit else {})}
        self._run.update_metadata({"stop": _storable(doc), _PROVENANCE: provenance}, drop_revision=True)


def _storable(doc: Any) -> Any:
    from bluesky_tiled_plugins.utils import truncate_json_overflow

    return truncate_json_overflow(doc)


class StreamLayout:
    """How the events of a stream become columns: scalars of a table, and arrays beside it.

    Parameters
    ----------
    descriptor
        The stream's first descriptor.

    Attributes
    ----------
    keys
        What the descriptor says of each data key, but for what is kept in files outside.
    unfit
        Count of values that the descriptor's type or shape has no place for; they are missing.
    """

    def __init__(self, descriptor: Document) -> None:
        import pyarrow as pa

        self.unfit = 0
        self.keys = {key: d for key, d in descriptor["data_keys"].items() if "external" not in d}
        self._shapes = {k: tuple(d.get("shape") or ()) for k, d in self.keys.items() if d["dtype"] == "array"}
        types = {"number": pa.float64(), "integer": pa.int64(), "boolean": pa.bool_(), "string": pa.string()}
        names = column_names(self.keys)
        self._sources: dict[str, tuple[str, str]] = {}
        fields = [("seq_num", pa.int64()), ("time", pa.float64())]
        for key, described in self.keys.items():
            if key not in self._shapes:
                self._sources[names[key]] = ("data", key)
                fields.append((names[key], types[described["dtype"]]))
        for key in self.keys:
            self._sources[f"ts_{names[key]}"] = ("timestamps", key)
            fields.append((f"ts_{names[key]}", pa.float64()))
        self.schema = pa.schema(fields)

    def table(self, events: list[Document]) -> "pyarrow.Table":
        """Return the scalars of events, with the times of all keys as `ts_...`."""
        import pyarrow as pa

        return pa.table([self._column(name, events) for name in self.schema.names], schema=self.schema)

    def arrays(self, events: list[Document]) -> "dict[str, numpy.ndarray]":
        """Return the arrays of events, one row an event; what is ragged or empty does not fit."""
        import numpy as np

        arrays = {}
        for key, shape in self._shapes.items():
            if not all(shape):
                self.unfit += len(events)
                continue
            rows = arrays[key] = np.full((len(events), *(size or 0 for size in shape)), np.nan)
            for row, event in zip(rows, events, strict=True):
                try:
                    row[...] = event["data"].get(key)
                except (TypeError, ValueError):
                    self.unfit += 1
        return arrays

    def columns(self, events: list[Document]) -> dict[str, Any]:
        """Return what `stream_columns` gives once these events are filed."""
        return _table_columns(self.table(events).to_pandas()) | self.arrays(events)

    def _column(self, name: str, events: list[Document]) -> "pyarrow.Array":
        import pyarrow as pa

        if name in self._sources:
            part, key = self._sources[name]
            values = [event[part].get(key) for event in events]
        else:
            values = [event[name] for event in events]
        type_ = self.schema.field(name).type
        try:
            return pa.array(values, type=type_, from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            return pa.array([self._fit(value, type_) for value in values], type=type_, from_pandas=True)

    def _fit(self, value: object, type_: "pyarrow.DataType") -> object:
        import pyarrow as pa

        try:
            return pa.array([value], type=type_, from_pandas=True)[0].as_py()
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            self.unfit += 1
            return None


class _StreamWriter:
    """One stream of a run: a table for scalars and an array node for each array."""

    def __init__(self, run: Any, descriptor: Document, table_name: str) -> None:
        from tiled.structures.core import Spec

        self.layout = StreamLayout(descriptor)
        self._arrays: dict[str, Any] = {}
        self._dims: dict[int, str] = {}
        metadata = {k: v for k, v in descriptor.items() if k not in {"name", "object_keys", "run_start"}}
        specs = [Spec("BlueskyEventStream", version="3.0"), Spec("composite")]
        self._node = run.create_container(
            key=descriptor["name"], metadata=_storable(metadata), specs=specs
        ).base
        self._table = self._node.create_appendable_table(
            schema=self.layout.schema,
            key="internal",
            metadata=_storable(self.layout.keys),
            table_name=table_name,
        )

    def reconfigure(self, descriptor: Document) -> None:
        updates = list(self._node.metadata.get("_config_updates", []))
        keep = {key: descriptor[key] for key in ("uid", "time", "configuration") if key in descriptor}
        self._node.update_metadata({"_config_updates": _storable([*updates, keep])}, drop_revision=True)

    def append(self, events: list[Document]) -> None:
        for key, rows in self.layout.arrays(events).items():
            self._append_array(key, rows)
        self._table.append_partition(0, self.layout.table(events))

    def _append_array(self, key: str, rows: Any) -> None:
        if key in self._arrays:
            node = self._arrays[key]
            node.patch(rows, offset=node.shape[:1], extend=True)
        else:
            dims = [self._dims.setdefault(size, f"dim_int_{len(self._dims) + 1}") for size in rows.shape[1:]]
            self._arrays[key] = self._node.write_array(rows, key=key, dims=("time", *dims))


def column_names(keys: Iterable[str]) -> dict[str, str]:
    """Map data keys to names that a SQL table takes: distinct in lower case, no quotes, not too long."""
    taken = {"seq_num", "time"}
    names = {}
    for key in keys:
        clean = _NOT_IN_SQL.sub("_", key)[:_LONGEST_COLUMN]
        clean = clean if clean[:1].isalpha() else f"x{clean}"
        name, count = clean, 1
        while name.lower() in taken:
            name, count = f"{clean}_{count}", count + 1
        taken |= {name.lower(), f"ts_{name.lower()}"}
        names[key] = name
        if name != key:
            logger.warning("The catalog calls the data key %r %r.", key, name)
    return names


def find_run(client: Any, uid: str) -> Any:
    """Return the run with exactly this uid in a catalog, or None. It is complete if it has a `stop`."""
    from tiled.queries import KeysFilter

    return next(iter(client.search(KeysFilter([uid])).values()), None)


def delete_run(client: Any, uid: str) -> None:
    """Take a run with all its data out of a catalog."""
    client.delete_contents(uid, recursive=True, external_only=False)
