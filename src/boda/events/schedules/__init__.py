"""The expressions of schedules, and the times that they name. Pure.

``expression.parse`` reads ``rate(…)``, ``cron(…)`` and ``at(…)``; the ``after`` of each returns its
first time behind a moment. Sources: the guides of EventBridge and EventBridge Scheduler ("Schedule
types", "Cron expressions reference").
"""
