"""The demonstration of `minitransformer demo`: it trains two small models and draws their attention."""
