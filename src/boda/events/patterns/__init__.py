"""Event patterns: the language, compiled once and matched often.

``compile_pattern(text).matches(event)``; ``dialects`` holds the differences of SNS, Pipes and event
source mappings.
"""

from boda.events.patterns.grammar import PatternError, compile_pattern
from boda.events.patterns.matching import EventPattern

__all__ = ["EventPattern", "PatternError", "compile_pattern"]
