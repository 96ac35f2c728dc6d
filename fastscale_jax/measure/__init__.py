"""What a network costs and how fast it runs, measured in several ways that check one another."""
