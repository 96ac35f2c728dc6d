"""What a person needs of an error that came up while keys of a config were overridden."""

_QUOTES = "'\""


def explain(error: BaseException) -> str:
    """Returns one line that says what is wrong.

    Args:
        error: of absl or of ml_collections.
    """
    message = str(error.args[0]) if error.args else type(error).__name__
    if isinstance(error, (AttributeError, KeyError)):
        # ConfigDict's, which quotes itself: `'learnin_rate'\nDid you mean "learning_rate" …`
        key, _, hint = message.replace("\\'", "'").replace("\\n", "\n").strip("'").partition("\n")
        return f"the config has no key '{key.strip(_QUOTES)}'" + (f". {hint}" if hint else "")
    return message
