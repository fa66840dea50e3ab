"""Who calls, and whether they may: needs, policies, decisions."""
