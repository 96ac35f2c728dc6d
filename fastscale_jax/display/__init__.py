"""Tables and figures as data, the origins of their numbers, and their drawing."""
