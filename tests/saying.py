"""What a call says."""

from __future__ import annotations

import warnings


def said(criterion, input, target):
    """What a call raises, or else the causes that it warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            criterion(input, target)
        except Exception as error:
            return error
    return [warning.message.finding.cause for warning in caught]
