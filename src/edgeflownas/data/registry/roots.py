"""Where the data sets of this machine are: configuration, then environment, then one file in the home folder."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edgeflownas.config.keys import nearest
from edgeflownas.config.load import parse_yaml
from edgeflownas.errors import ConfigError

__all__ = ["Root", "find_root", "roots_file"]

_LARGEST_FILE = 2**20  # bytes


class Root(NamedTuple):
    """A folder and what named it."""

    path: Path
    named_by: str
    """``data.roots``, ``EDGEFLOWNAS_DATA_SINTEL`` or the path of the file."""


def roots_file() -> Path:
    """``datasets.yaml`` in $XDG_CONFIG_HOME or ~/.config, below edgeflownas/."""
    home = os.environ.get("XDG_CONFIG_HOME")
    base = Path(home) if home else Path.home() / ".config"
    return base / "edgeflownas" / "datasets.yaml"


def find_root(name: str, known: Collection[str], roots: Mapping[str, str] | None = None) -> Root | None:
    """The folder of ``name``: data.roots wins over the environment variable, and that over datasets.yaml.

    Raises:
        ConfigError: data.roots or datasets.yaml holds a name that is not ``known``, or what is no folder name.
    """
    configured = _checked(roots or {}, known, "data.roots")
    if name in configured:
        return Root(Path(configured[name]).expanduser(), "data.roots")
    variable = variable_of(name)
    if os.environ.get(variable):
        return Root(Path(os.environ[variable]).expanduser(), variable)
    path = roots_file()
    listed = _read(path, known)
    return Root(Path(listed[name]).expanduser(), str(path)) if name in listed else None


def variable_of(name: str) -> str:
    """The environment variable of a name."""
    return f"EDGEFLOWNAS_DATA_{name.upper()}"


def _read(path: Path, known: Collection[str]) -> dict[str, str]:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ConfigError(f"{path}: has {path.stat().st_size} bytes, expected lines such as 'sintel: /data/sintel'")
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is no text (byte {error.start} is not UTF-8)") from None
    content, _ = parse_yaml(text, str(path))
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold lines such as 'sintel: /data/sintel'")
    listed = _checked(content, known, str(path))
    for name, folder in listed.items():
        if not Path(folder).expanduser().is_absolute():
            raise ConfigError(f"{path}: {name}: {folder!r} must be an absolute path (or begin with ~)")
    return listed


def _checked(content: Mapping[Any, Any], known: Collection[str], where: str) -> dict[str, str]:
    for name, folder in content.items():
        if name not in known:
            close = nearest(str(name), known)
            hint = f"; did you mean {close}?" if close else ""
            raise ConfigError(f"{where}: no data set is called {name!r} (known: {', '.join(sorted(known))}){hint}")
        if not isinstance(folder, str) or not folder:
            raise ConfigError(f"{where}: {name}: must be a folder (got {folder!r})")
    return {str(name): str(folder) for name, folder in content.items()}
