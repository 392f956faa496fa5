"""Mirrors: what a seat installs from, and how it is made."""
