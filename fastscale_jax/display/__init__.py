"""Tables and figures as data, where their numbers come from, and how they are drawn."""
