"""What a customer was granted, used and has left, with every movement behind it (R37, R38)."""
