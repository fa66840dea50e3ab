"""Event patterns: the language, compiled once and matched often.

``compile_pattern(text).matches(event)``; ``dialects`` holds what SNS, Pipes and event source
mappings do otherwise.
"""

from boda.events.patterns.grammar import PatternError, compile_pattern
from boda.events.patterns.matching import EventPattern

__all__ = ["EventPattern", "PatternError", "compile_pattern"]
