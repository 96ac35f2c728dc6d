"""Turns errors of other packages, about configs and memory, into plain messages."""

import re

_QUOTES = "'\""
# part of Python's or absl's message for a wrong type: what the value must be
_TYPES = {
    "invalid literal for int()": "a whole number",
    "could not convert string to float": "a number",
    "Non-boolean argument": "true or false",
    "as a ConfigDict": "given key by key, as in --config.section.key=value",
    "Could not parse ''": "the value of a key, as in --config.key=value",
}


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an error is due to too little memory, on the host or a device."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def explain(error: BaseException) -> str:
    """Returns one line about the problem.

    Args:
        error: an error of absl or ml_collections.
    """
    message = str(error.args[0]) if error.args else type(error).__name__
    if isinstance(error, (AttributeError, KeyError)):
        # ConfigDict's message is quoted: `'learnin_rate'\nDid you mean "learning_rate" …`
        key, _, hint = message.replace("\\'", "'").replace("\\n", "\n").strip("'").partition("\n")
        return f"the config has no key '{key.strip(_QUOTES)}'" + (f". {hint}" if hint else "")
    return in_plain_words(message)


def in_plain_words(message: str) -> str:
    """Returns a plain message for a value of the wrong type; other messages are unchanged."""
    wanted = next((kind for sign, kind in _TYPES.items() if sign in message), None)
    if wanted is None:
        return message
    flag = re.match(r"flag (\S+?): |Invalid value for (\S+?): ", message)
    name = (flag[1] or flag[2]) if flag else "what follows --config."
    auto = ", or auto" if name.startswith("--config.data.batch_size=") else ""
    value = re.search(r"base 10: ('.*')", message) if flag and flag[2] else None
    return f"{name} must be {wanted}{auto}" + (f"; got {value[1]}" if value else "")
