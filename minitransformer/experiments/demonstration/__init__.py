"""The demonstration of `minitransformer demo`: two small models learn, and their attention is drawn."""
