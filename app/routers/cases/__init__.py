"""Cases: opened, worked on and closed (R11, R18-R33)."""
