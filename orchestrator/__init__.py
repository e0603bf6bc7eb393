"""Decides what runs where, and shows it."""
