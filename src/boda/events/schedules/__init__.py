"""When things are due, pure: the expressions of schedules, and the times that they name.

``expression.parse`` reads ``rate(…)``, ``cron(…)`` and ``at(…)``; the ``after`` of each returns its
first time behind a moment. Sources: the guides of EventBridge and EventBridge Scheduler
("Schedule types", "Cron expressions reference").
"""
