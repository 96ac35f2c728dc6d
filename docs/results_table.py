"""The table of results.md: where each file of results comes from."""

from benchmarks import origins

_PACKAGES = ("jax", "torch", "python")  # Python where the file names neither of the others


def files() -> str:
    """Returns a row for each file of benchmarks/results."""
    rows = ["| file | machine, or target compiled for | versions | date | command |"]
    rows += ["|---|---|---|---|---|"]
    for path in origins.files():
        origin = origins.origin(path)
        packages = {name: origin.versions[name] for name in _PACKAGES if name in origin.versions}
        if len(packages) > 1:
            packages.pop("python", None)
        cells = [
            f"[`{path.name}`](../benchmarks/results/{path.name})",
            ", ".join(origin.devices),
            ", ".join(f"{name} {version}" for name, version in packages.items()),
            " to ".join(dict.fromkeys((origin.dates[0], origin.dates[-1]))),
            _commands(origin),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _commands(origin: origins.Origin) -> str:
    words = (x if x == origins.NOT_RECORDED else f"`{x}`" for x in origin.commands)
    sources = ", ".join(f"[{x.rpartition('/')[2]}]({_link(x)})" for x in origin.commands_from)
    return "; ".join(words) + (f", from {sources}" if sources else "")


def _link(path: str) -> str:
    return path.removeprefix("docs/") if path.startswith("docs/") else f"../{path}"
