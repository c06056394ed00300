"""What addresses of inputs hold, on disk, in S3 or in the Hub: listed, known by hash, fetched, or only looked at."""
