"""What functions and targets are called with, and what picks it. Pure, below all services.

``patterns`` holds the event-pattern language of EventBridge, SNS, Pipes and event source mappings.
``http`` turns HTTP requests into events and functions' results into HTTP answers.
"""
