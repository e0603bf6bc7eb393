"""Chips that a circuit runs on: what is known of them, and what they would make of it."""
