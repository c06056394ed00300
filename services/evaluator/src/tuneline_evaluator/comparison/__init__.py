"""From judged conversations to figures and a verdict."""
