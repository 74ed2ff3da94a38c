"""Offers the detector to meshtx. It is read at every start: keep it small, and the work elsewhere."""

from meshtx_redis.detector import RedisDetector

redis = RedisDetector()
