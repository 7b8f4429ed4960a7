"""The process that reads one hostile file: bounded memory and time, and no way to open a file or a connection.

`files` starts it with the file as its standard input and the rows' file as another descriptor. It prints one JSON
object, the report or an error.
"""

import json
import resource
import sys
from contextlib import suppress
from typing import IO, Any, Final

from openledger_protocol.errors import MalformedError

from ..errors import NodeError
from .reading import ReadOptions, open_reader, read_file
from .screening import load_patterns

MEMORY_BYTES_MAX: Final = 768 << 20
"""Address space; Python and its libraries take about 100 MiB of it, and the digests of 2^20 rows about 200 MiB."""

PROCESSOR_S_MAX: Final = 60
ROWS_BYTES_MAX: Final = 1 << 30
NO_MEMORY: Final = f"reading it takes more than {MEMORY_BYTES_MAX >> 20} MiB of memory: split it"


def main() -> None:
    """Read the file and print the report."""
    options, rows_descriptor = ReadOptions(**json.loads(sys.argv[1])), int(sys.argv[2])
    limit(resource.RLIMIT_AS, MEMORY_BYTES_MAX)
    limit(resource.RLIMIT_CPU, PROCESSOR_S_MAX)
    limit(resource.RLIMIT_FSIZE, ROWS_BYTES_MAX)
    try:
        report = _read(options, rows_descriptor)
    except MemoryError:
        report = {"error": NO_MEMORY}
    except RecursionError:
        report = {"error": "it is nested too deeply: save it in a simpler form"}
    except (NodeError, MalformedError) as error:
        report = {"error": str(error)}
    except ImportError as error:
        report = {"error": f"the Python package {error.name} is not installed: reinstall openledger-node"}
    except OSError as error:
        report = {"error": f"its rows can't be written or a part of it can't be read ({error.strerror})"}
    print(json.dumps(report))


def limit(kind: int, value: int) -> None:
    """Lower a limit of this process; macOS refuses some of them."""
    with suppress(ValueError, OSError):
        resource.setrlimit(kind, (value, value))


def _read(options: ReadOptions, rows_descriptor: int) -> dict[str, Any]:
    with open(0, "rb", closefd=False) as file, open(rows_descriptor, "w", encoding="utf-8", newline="\n") as rows:
        load_patterns()
        status = _open_status()
        open_reader(file, options)  # imports the reader
        _import_late()
        limit(resource.RLIMIT_NOFILE, 0)  # from here on no file can be opened, and no connection

        def write(row: dict[str, str]) -> None:
            rows.write(json.dumps(row, ensure_ascii=False) + "\n")

        report = read_file(file, options, write).to_plain()
        return {**report, "peak_bytes": _peak_bytes(status)}


def _open_status() -> IO[str] | None:
    """Open the kernel's figures of this process while that is possible; only Linux has them."""
    with suppress(OSError):
        return open("/proc/self/status", encoding="ascii", errors="replace")
    return None


def _peak_bytes(status: IO[str] | None) -> int | None:
    """The most memory that this process has held."""
    lines = status or ()
    peak = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
    return None if peak is None else int(peak) << 10


def _import_late() -> None:
    """Import the codecs, which Python imports only when they are used."""
    import encodings.cp1252
    import encodings.iso8859_1
    import encodings.iso8859_15
    import encodings.utf_8_sig
    import encodings.utf_16
    import encodings.utf_16_be
    import encodings.utf_16_le
    import encodings.utf_32  # noqa: F401


if __name__ == "__main__":
    main()
