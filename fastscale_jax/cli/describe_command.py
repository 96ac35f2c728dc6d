"""`fastscale describe`: our network for a name of timm or torchvision."""

import json

from fastscale_jax.arch.spelling import did_you_mean, meant, nearest
from fastscale_jax.cli.described import describe, network_table
from fastscale_jax.cli.options import Output
from fastscale_jax.interop.claims import LOOKALIKES
from fastscale_jax.interop.counterparts import COUNTERPARTS, LIBRARIES, Counterpart
from fastscale_jax.utils.console import OK, print_table


def describe_network(name: str, *, format: Output = "table") -> int:  # noqa: A002 # the flag's name
    """Shows our network for a name of another library. Returns the exit status.

    Args:
        name: library:network, as in timm:regnety_016 or torchvision:resnet50. A training tag after
            a dot, as in regnety_016.tv2_in1k, is ignored.
        format: json prints one object on stdout.
    """
    counterpart = _counterpart(name)
    network = counterpart.architecture()
    if format == "json":
        print(json.dumps({**describe(network), "config": counterpart.arguments}))
        return OK
    print_table(network_table(network))
    print(f"{counterpart.package}'s {counterpart.name} is {counterpart.arguments}")
    return OK


def _counterpart(text: str) -> Counterpart:
    """Our network for `library:name`.

    Raises:
        ValueError: an unknown library, or a network that is none of our named ones.
    """
    library, _, name = text.partition(":")
    package = meant(library, LIBRARIES)
    if package not in LIBRARIES or not name:
        raise ValueError(
            f"{text!r} must be a library and its network, as in timm:regnety_016; "
            f"libraries: {', '.join(LIBRARIES)}"
        )
    known = {network.name: network for network in COUNTERPARTS if network.package == package}
    plain = meant(name.partition(".")[0], known)
    if plain not in known:
        for beginning, difference in LOOKALIKES.items():
            if plain.startswith(beginning):
                raise ValueError(f"{package}'s {name} {difference}; our networks do not")
        raise ValueError(
            f"none of our named networks is {package}'s {name}; "
            f"{did_you_mean(nearest(plain, known))}docs/weights.md lists the known names; others "
            "may be described by their sizes, as in fastscale info resnet:50 "
            "--config.model.depths='(2, 2, 2, 2)'"
        )
    return known[plain]
