"""Weights on the Hugging Face hub, by name: `hf:timm/regnety_004.pycls_in1k`.

huggingface_hub (extra `hub`) downloads, shows progress, and keeps what came in its cache, which is
shared with other programs. Its environment variables are followed: `HF_ENDPOINT`, `HF_HOME`,
`HF_HUB_CACHE`, `HF_HUB_OFFLINE`, `HF_TOKEN`.
"""

import hashlib
import os
import pathlib
import re
import socket
from typing import Any, NamedTuple
from urllib import parse

from fastscale_jax.arch.spelling import did_you_mean, nearest
from fastscale_jax.interop.pretrained import OWNER, pretrained
from fastscale_jax.interop.weights import WeightsError
from fastscale_jax.utils.console import complain
from fastscale_jax.utils.installation import pip_install
from fastscale_jax.utils.paths import with_home

SCHEME = "hf:"
# files of weights, in the order in which they are preferred: timm's, an export's, an older one's
FILES = ("model.safetensors", "weights.safetensors", "pytorch_model.bin")
_GRAMMAR = "hf:<owner>/<name>, or hf:<owner>/<name>/<file>, with @<revision> after it if need be"
_PART = re.compile(r"[\w][\w.-]*", re.ASCII)


class _NotReachedError(WeightsError):
    """A file that is not in the cache, and a hub that does not answer or may not be asked."""


class Reference(NamedTuple):
    """Weights on the hub."""

    repository: str  # owner/name
    file: str = ""  # in the repository; empty: the first of `FILES` that it has
    revision: str = "main"  # branch, tag or commit

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision != "main" else ""
        return f"{SCHEME}{self.repository}{self.file and '/' + self.file}{at}"


def is_on_hub(path: str | os.PathLike[str]) -> bool:
    """Returns whether a path names weights on the hub."""
    return os.fspath(path).startswith(SCHEME)


def reference(name: str) -> Reference:
    """Returns what a name means.

    Args:
        name: `hf:<owner>/<name>[/<file>][@<revision>]`.

    Raises:
        WeightsError: it is not of this form.
    """
    path, at, revision = name.removeprefix(SCHEME).lstrip("/").partition("@")
    parts = path.split("/")
    if len(parts) < 2 or not all(map(_PART.fullmatch, parts)) or (at and not revision):
        known = [x.repository for x in pretrained()]
        near = [f"{SCHEME}{x}" for x in nearest(f"{OWNER}/{path}", known)]
        example = f"as in {SCHEME}{OWNER}/regnety_004.pycls_in1k"
        hint = did_you_mean(near).strip() or example
        raise WeightsError(f"{name} is no name of weights on the hub: {_GRAMMAR}; {hint}")
    return Reference("/".join(parts[:2]), "/".join(parts[2:]), revision or "main")


def download(name: str) -> pathlib.Path:
    """Returns the local file of weights on the hub; its description is beside it.

    A file in the cache is not downloaded again. Cached and new files are compared with the checksum
    that the hub states.

    Args:
        name: as in `reference`.

    Raises:
        WeightsError: there are no weights of that name, the hub cannot be reached, the weights'
            licence must be accepted first, or the file is damaged.
    """
    wanted = reference(name)
    try:
        import huggingface_hub  # noqa: F401 # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise WeightsError(
            f"{name} is on the hub, which needs huggingface_hub; run {pip_install('hub')}"
        ) from error
    is_known = re.fullmatch(r"[0-9a-f]{40}", wanted.revision) and _is_cached(wanted)
    unreached = None if is_known or _is_offline() else _unreached()
    path = _weights(wanted, unreached)
    # the commit that it is of: nothing is asked twice, and the description is of the same one
    pinned = wanted._replace(revision=path.parents[wanted.file.count("/")].name)
    about = "manifest.json" if path.name == "weights.safetensors" else "config.json"
    _bring_about(pinned, "/".join([*wanted.file.split("/")[:-1], about]), unreached)
    return path


def _unreached() -> OSError | None:
    """The error of a connection to the hub, or to the proxy before it; None: the connection works.

    Without a connection, huggingface_hub would try six times in 23 seconds, and print messages.
    """
    from urllib import request

    hub, proxies = parse.urlsplit(_endpoint()), request.getproxies()
    proxy = proxies.get(hub.scheme) or proxies.get("all")
    if proxy and not request.proxy_bypass(hub.hostname or ""):
        hub = parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    ports = {"http": 80, "https": 443}
    try:
        place = hub.hostname, hub.port or ports[hub.scheme]
    except (ValueError, KeyError):  # an address that huggingface_hub has to judge
        return None
    try:
        socket.create_connection(place, timeout=5).close()
    except OSError as error:
        return error
    return None


def _weights(wanted: Reference, unreached: OSError | None) -> pathlib.Path:
    missed = None
    for file in (wanted.file,) if wanted.file else FILES:
        try:
            path = _fetched(wanted, file, unreached)
        except _NotReachedError as error:
            if not _is_cached(wanted):
                raise
            missed = error
        else:
            if path is not None:
                return path
    there = f"{SCHEME}{wanted.repository}"
    raise missed or WeightsError(
        f"{there} has no {wanted.file or ' and no '.join(FILES)}{_files_there(wanted)}"
    )


def _bring_about(pinned: Reference, file: str, unreached: OSError | None) -> None:
    """Brings the description of weights, if there is one."""
    try:
        _fetched(pinned, file, unreached)
    except _NotReachedError:
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(
            pinned.repository, file, cache_dir=_cache(), revision=pinned.revision
        )
        if cached is None:
            complain(
                f"{SCHEME}{pinned.repository}: its {file} is not in the cache {_cache()}, and the "
                "hub is not reached; what it says of images is not known"
            )


def _fetched(wanted: Reference, file: str, unreached: OSError | None) -> pathlib.Path | None:
    """The local copy of a file of a repository; None: it has none of that name."""
    from huggingface_hub import errors, hf_hub_download

    settings = _settings()
    settings["local_files_only"] |= unreached is not None
    try:
        path = pathlib.Path(
            hf_hub_download(
                wanted.repository,
                file,
                revision=wanted.revision,
                library_name="fastscale_jax",
                **settings,
            )
        )
    except errors.LocalEntryNotFoundError as error:
        cause = unreached or error.__cause__ or error
        raise _NotReachedError(_not_reached(wanted, cause)) from error
    except errors.EntryNotFoundError:
        return None
    except errors.GatedRepoError as error:
        page = f"{_endpoint()}/{wanted.repository}"
        raise WeightsError(
            f"{wanted} requires you to accept its licence: do so at {page}, then give your "
            "token in HF_TOKEN, or by hf auth login"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise WeightsError(
            f"there is no {SCHEME}{wanted.repository} on the hub, or it is private and needs a "
            f"token in HF_TOKEN; {did_you_mean(_repositories_near(wanted))}".strip(" ;")
        ) from error
    except errors.RevisionNotFoundError as error:
        raise WeightsError(
            f"{SCHEME}{wanted.repository} has no revision {wanted.revision!r}"
            f"{_revisions_there(wanted)}"
        ) from error
    except Exception as error:  # of the network and of the disk, in types of several libraries
        raise WeightsError(_interrupted(wanted, file, error)) from error
    _check_sum(wanted, path)
    return path


def _settings() -> dict[str, Any]:
    """The environment's current settings; huggingface_hub reads them only when it is imported."""
    home, cache = os.environ.get("HF_HOME"), os.environ.get("HF_HUB_CACHE")
    if home and not cache:
        cache = os.path.join(home, "hub")
    return {
        "endpoint": os.environ.get("HF_ENDPOINT") or None,
        "cache_dir": with_home(cache) if cache else None,
        "local_files_only": _is_offline(),
    }


def _is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "on", "yes", "true")


def _endpoint() -> str:
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT") or constants.ENDPOINT


def _cache() -> str:
    from huggingface_hub import constants

    return _settings()["cache_dir"] or constants.HF_HUB_CACHE


def _is_cached(wanted: Reference) -> bool:
    """Whether the cache has files of this revision."""
    folder = pathlib.Path(_cache(), f"models--{wanted.repository.replace('/', '--')}")
    branch = folder / "refs" / wanted.revision
    commit = branch.read_text().strip() if branch.is_file() else wanted.revision
    return (folder / "snapshots" / commit).is_dir()


def _check_sum(wanted: Reference, path: pathlib.Path) -> None:
    """Compares a file with the checksum that the hub stated, which is its name in the cache.

    It is SHA-256 of large files and git's SHA-1 of small ones. A cache without links has no names
    to compare with; there, huggingface_hub has compared the size.
    """
    if not path.is_symlink():
        return
    blob = path.parent / os.readlink(path)
    stated, content = blob.name, path.read_bytes()
    if re.fullmatch(r"[0-9a-f]{64}", stated):
        kind, found = "SHA-256", hashlib.sha256(content).hexdigest()
    elif re.fullmatch(r"[0-9a-f]{40}", stated):
        kind, found = "SHA-1", hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    else:
        return
    if found != stated:
        raise WeightsError(
            f"{wanted}: {path.name} is not the file on the hub: its {kind} is {found}, and the hub "
            f"states {stated}; delete {blob.resolve()} and start again"
        )


def _not_reached(wanted: Reference, cause: BaseException) -> str:
    missing = f"{wanted} is not in the cache {_cache()}"
    near = nearest(wanted.repository, [x.repository for x in pretrained()])
    question = did_you_mean([f"{SCHEME}{name}" for name in near if name != wanted.repository])
    if _is_offline():
        reason = f"{missing}, and HF_HUB_OFFLINE forbids to look on the hub"
    else:
        why = _in_a_line(cause)
        reason = f"the hub {_endpoint()} is not reached ({why}), and {missing}"
    way_out = "give the path of a file that you downloaded elsewhere"
    return f"{reason}; {question}{way_out}"


def _interrupted(wanted: Reference, file: str, error: Exception) -> str:
    sizes = re.search(r"should be of size (\d+) but has size (\d+)", str(error))
    if sizes:
        whole, part = (int(size) for size in sizes.groups())
        return (
            f"{wanted}: only {part:,} of the {whole:,} bytes of {file} were downloaded; start "
            "again for the whole file"
        )
    return f"{wanted}: {file} cannot be downloaded from {_endpoint()}: {_in_a_line(error)}"


def _in_a_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _files_there(wanted: Reference) -> str:
    """What files a repository has, for the end of a message; empty: it cannot be asked."""
    names = _asked("list_repo_files", wanted.repository, revision=wanted.revision)
    weights = [x for x in names if x.endswith((".safetensors", ".bin", ".pth", ".pt"))]
    if not weights:
        return ""
    near = [f"{SCHEME}{wanted.repository}/{x}" for x in nearest(wanted.file, weights)]
    return f"; {did_you_mean(near)}its files of weights are {', '.join(weights[:20])}"


def _revisions_there(wanted: Reference) -> str:
    refs = _asked("list_repo_refs", wanted.repository)
    names = [ref.name for ref in (*refs.branches, *refs.tags)] if refs else []
    return f"; {did_you_mean(nearest(wanted.revision, names))}it has {', '.join(names)}" * bool(
        refs
    )


def _repositories_near(wanted: Reference) -> list[str]:
    """Names of repositories that are like one that is not there."""
    owner = wanted.repository.partition("/")[0]
    known = [x.repository for x in pretrained()]
    if owner != OWNER:
        known += [model.id for model in _asked("list_models", author=owner, limit=1000)]
    return [f"{SCHEME}{name}" for name in nearest(wanted.repository, known)]


def _asked(question: str, *arguments: Any, **options: Any) -> Any:
    """The hub's answer; empty if it gives none, because the caller already reports an error."""
    from huggingface_hub import HfApi

    try:
        answer = getattr(HfApi(endpoint=_settings()["endpoint"]), question)(*arguments, **options)
        return list(answer) if question.startswith(("list_models", "list_repo_files")) else answer
    except Exception:
        return ()
