"""What a search found and how it stands: leaderboards and status, read from its folder."""
