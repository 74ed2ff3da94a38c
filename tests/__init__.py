"""All tests. How busy the machine is decides none of them: hypothesis has no deadline and judges no speed."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "meshtx", deadline=None, database=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("meshtx")
