"""From frames to files: tables, figures, verdicts and pages."""
