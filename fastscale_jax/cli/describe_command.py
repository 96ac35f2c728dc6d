"""`fastscale describe`: the network that another library's name stands for."""

import json

from fastscale_jax.arch.spelling import did_you_mean, meant, nearest
from fastscale_jax.cli.described import describe, network_table
from fastscale_jax.cli.options import Output
from fastscale_jax.interop.claims import LOOKALIKES
from fastscale_jax.interop.counterparts import COUNTERPARTS, LIBRARIES, Counterpart
from fastscale_jax.utils.console import OK, print_table


def describe_network(name: str, *, format: Output = "table") -> int:  # noqa: A002 # the flag's name
    """Says which network a name of another library stands for. Returns the exit status.

    Args:
        name: Of the library and of its network, as in timm:regnety_016 or torchvision:resnet50;
            what comes after a dot, as in regnety_016.tv2_in1k, is the training and does not count.
        format: json prints one object on stdout.
    """
    found = _counterpart(name)
    network = found.architecture()
    if format == "json":
        print(json.dumps({**describe(network), "config": found.arguments}))
        return OK
    print_table(network_table(network))
    print(f"{found.package}'s {found.name} is {found.arguments}")
    return OK


def _counterpart(text: str) -> Counterpart:
    """The network that `library:name` stands for.

    Raises:
        ValueError: there is no such library here, or none of its networks of that name is ours.
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
                raise ValueError(f"{package}'s {name} {difference}; none of our networks does")
        raise ValueError(
            f"{package}'s {name} is none of our networks; {did_you_mean(nearest(plain, known))}"
            "docs/weights.md lists those that are"
        )
    return known[plain]
