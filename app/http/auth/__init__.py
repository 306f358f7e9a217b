"""How a request says who it is (RFC 6750), and who is let in."""
