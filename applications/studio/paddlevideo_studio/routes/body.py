"""What the bodies of requests share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """The body of a request; a key that it does not have is an error (422), as a misspelt one would have no effect."""

    model_config = ConfigDict(extra="forbid")
