"""The events that functions and targets are called with, and the patterns that select them.

Pure, below all services. ``patterns`` holds the event-pattern language of EventBridge, SNS, Pipes
and event source mappings. ``http`` turns HTTP requests into events and functions' results into HTTP
answers. ``schedules`` holds the expressions of schedules.
"""
