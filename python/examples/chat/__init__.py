"""Rooms with history and presence."""
