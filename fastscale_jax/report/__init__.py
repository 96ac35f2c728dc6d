"""One page with every table and figure of the paper, and an explorer of scaled networks."""
