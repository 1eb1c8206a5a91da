"""From stored runs to numbers: pandas frames that tables, figures and claims are made of."""
