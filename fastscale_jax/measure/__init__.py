"""What networks cost and how fast they run on the device that is here."""
