"""Run the web server: one process, or several workers under a supervisor."""
