"""The pure rules: all control flow, retry, join, cancellation and timer semantics.

No module in here imports asyncio, a clock, a driver or user code; the engine awaits, the rules
decide.  Import from the modules: ``wfe.core.rules.decide`` is the way in.  Nothing is imported
here, so that whoever needs only a record of the rules does not pay for all of them.
"""
