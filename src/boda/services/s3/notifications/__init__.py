"""Notifications: their configuration, and the events that are sent."""
