"""dj-stripe's webhook intake: in its whole, or storing what came for a task queue to work on later."""
