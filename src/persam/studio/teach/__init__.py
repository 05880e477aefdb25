"""The tab Teach: one draws what is one's own, and it is learned."""
